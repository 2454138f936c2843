// The live map: a client of /latest and /events, and of nothing else.

import { boundsOf, PeopleLayer } from "./layer.js";
import { lengthOf, lookOf, nameOf, People } from "./people.js";

const $ = (id) => document.getElementById(id);
const RETRY_MS = 2_000;
const REPLAY_MS = 4_000; // history that takes longer is shown as it comes
const MAX_ROWS = 200;
const MAX_LINES = 60;
const MANY = 1_000; // people whose list is put in order once a second, not more often
const MAX_LIMIT = 10_000;
const CLOSE_ZOOM = 16;
const MARGIN = 60; // pixels around everybody

const people = new People();
let clockOffset = 0; // the server's clock, less this one's
const clock = () => Date.now() + clockOffset;

const map = L.map("map", {
  center: [20, 0], zoom: 2, minZoom: 1, zoomSnap: 0.5, zoomControl: false, attributionControl: false,
  zoomAnimation: false, worldCopyJump: true, maxBoundsViscosity: 1, maxBounds: [[-89, -Infinity], [89, Infinity]],
});
const { tiles, attribution, types } = document.body.dataset;
const layer = new PeopleLayer(map, people, clock, { graticule: !tiles });
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let selected = null;
let following = false;
let fitting = true; // everybody is kept in view, until somebody moves the map
let seen = false; // somebody was in view
let stale = true; // the list has to be drawn again

map.zoomControl = L.control.zoom({ position: "topright" }).addTo(map);
L.control.scale({ position: "bottomleft", maxWidth: 140 }).addTo(map);
if (tiles) {
  L.tileLayer(tiles, { maxZoom: 19, referrerPolicy: "no-referrer" }).addTo(map);
  L.control.attribution({ prefix: false, position: "bottomright" }).addTo(map).addAttribution(credit(attribution));
}

// From the server

let source = null;
let retry = 0;

async function connect() {
  source?.close();
  clearTimeout(retry);
  let latest;
  try {
    const reply = await fetch(`latest?limit=${MAX_LIMIT}`, { cache: "no-store" });
    if (reply.status === 401) {
      showStatus("refused", "Not allowed any more: open the address with the token again");
      return;
    }
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    clockOffset = Date.parse(reply.headers.get("date")) - Date.now() || 0;
    latest = await reply.json();
  } catch {
    tryAgain();
    return;
  }
  people.reset(latest.features);
  listen(latest.last_event_id, latest.features.length);
}

function tryAgain() {
  showStatus("away", "Connection lost; trying again");
  clearTimeout(retry);
  retry = setTimeout(connect, RETRY_MS);
}

/** Follow the events, from some minutes back: they tell who is called what, and the way everybody came. */
function listen(lastEventId, count) {
  const minutes = count < 300 ? 15 : count < 2_000 ? 3 : 0;
  const [milliseconds, number] = lastEventId.split("-").map(Number);
  const from = minutes ? `${Math.max(1, milliseconds - minutes * 60_000)}` : lastEventId;
  const isHistory = (id) => {
    const [one, other] = id.split("-").map(Number);
    return one < milliseconds || (one === milliseconds && other < number);
  };
  const opened = new EventSource(`events?after=${from}`);
  source = opened;
  people.replaying = minutes > 0 && milliseconds > 0;
  setTimeout(() => endReplay(), people.replaying ? REPLAY_MS : 0);
  opened.addEventListener("open", () => showStatus("live", "Live"));
  opened.addEventListener("error", () => {
    if (opened.readyState === EventSource.CLOSED) tryAgain();
    else showStatus("away", "Connection lost; trying again");
  });
  opened.addEventListener("gap", () => {
    // History may begin later than was asked for; else what is missing is looked up.
    if (!people.replaying) connect();
  });
  for (const type of types.split(",")) {
    opened.addEventListener(type, (message) => {
      const history = isHistory(message.lastEventId);
      if (!history) endReplay();
      people.take(JSON.parse(message.data), clock());
      if (!people.replaying) changed();
      if (message.lastEventId === lastEventId) endReplay();
    });
  }
  if (!people.replaying) changed();
}

function endReplay() {
  if (!people.replaying) return;
  people.replaying = false;
  changed();
}

function showStatus(state, text) {
  const status = $("status");
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

function changed() {
  stale = true;
  layer.redraw();
  if (!seen) fit();
}

/** Draw the panel again, and see that who should be in view is: a few times a second, however much happens. */
function refresh() {
  if (!stale) return;
  if (fitting) fit();
  if (following && selected?.position) centre(selected);
  drawPanel();
}

// The map

/** Show everybody, unless everybody is seen already, and not as a dot. */
function fit() {
  const positions = [...people.all.values()].flatMap(({ position }) => position ?? []);
  if (!positions.length || !fitting) return;
  seen = true;
  const bounds = L.latLngBounds(boundsOf(positions));
  const wanted = Math.min(CLOSE_ZOOM, map.getBoundsZoom(bounds, false, L.point(2 * MARGIN, 2 * MARGIN)));
  const inside = map.getBounds().pad(-0.05).contains(bounds);
  if (!inside || Math.abs(wanted - map.getZoom()) > 1) map.setView(bounds.getCenter(), wanted, { animate: false });
}

function keepEverybodyInView(whether) {
  fitting = whether;
  $("fit").setAttribute("aria-pressed", String(fitting));
  if (fitting) fit();
}

function centre(person, zoom = map.getZoom()) {
  const { latitude, longitude } = person.position;
  const around = Math.round((map.getCenter().lng - longitude) / 360) * 360;
  map.setView([latitude, longitude + around], zoom, { animate: !calm.matches && zoom === map.getZoom(), duration: 0.6 });
}

function showEverybody() {
  following = false;
  keepEverybodyInView(true);
  drawCard();
}

function select(person) {
  selected = layer.selected = person;
  following = Boolean(person?.position);
  if (following) keepEverybodyInView(false);
  if (following) centre(person, Math.max(map.getZoom(), 14));
  if (person) $("card").scrollIntoView({ block: "nearest" });
  changed();
  drawPanel();
}

map.on("mousemove", ({ containerPoint }) => {
  const person = layer.at(containerPoint);
  if (person === layer.hovered) return;
  layer.hovered = person;
  map.getContainer().classList.toggle("pointing", Boolean(person));
  layer.redraw();
});
map.on("click", ({ containerPoint }) => {
  const person = layer.at(containerPoint);
  if (person) select(person);
});
map.on("dragstart", () => {
  following = false;
  keepEverybodyInView(false);
  drawCard();
});
for (const moving of ["wheel", "dblclick"]) map.getContainer().addEventListener(moving, () => keepEverybodyInView(false), { passive: true });
map.getContainer().addEventListener("keydown", () => keepEverybodyInView(false));
map.zoomControl.getContainer().addEventListener("click", () => keepEverybodyInView(false));

$("fit").addEventListener("click", showEverybody);
$("card-close").addEventListener("click", () => select(null));
$("card-follow").addEventListener("click", () => {
  following = !following && Boolean(selected?.position);
  if (following) centre(selected);
  drawCard();
});
$("search").addEventListener("input", () => drawPanel());
$("search").addEventListener("keydown", (event) => {
  const first = $("people").querySelector("button");
  if (event.key === "ArrowDown" && first) {
    first.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && first) {
    first.click();
  }
});
$("people").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...$("people").querySelectorAll("button")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  (next ?? $("search")).focus();
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "f") showEverybody();
  else if (event.key === "/") $("search").focus();
  else if (event.key === "Escape" && selected) select(null);
  else return;
  event.preventDefault();
});

// The panel

const rows = new Map(); // the elements of each person in the list

function drawPanel() {
  stale = false;
  const now = clock();
  people.prune(now);
  if (selected && people.all.get(selected.key) !== selected) selected = layer.selected = null;
  const everybody = [...people.all.values()];
  drawSummary(everybody, now);
  drawList(everybody, now);
  drawCard();
  drawEvents();
}

function drawSummary(everybody, now) {
  const counts = { sharing: 0, stale: 0, asked: 0 };
  for (const person of everybody) {
    const look = lookOf(person, now);
    if (look === "asked") counts.asked += 1;
    else if (look === "stale") counts.stale += 1;
    else if (look !== "gone") counts.sharing += 1;
  }
  const parts = [`${counts.sharing} sharing`, counts.stale && `${counts.stale} stale`, counts.asked && `${counts.asked} asked`];
  setText($("summary"), parts.filter(Boolean).join(" · "));
  $("empty").hidden = counts.sharing + counts.stale > 0 || people.replaying;
}

const ORDER = { fresh: 0, recent: 0, older: 0, stale: 0, asked: 1, gone: 2 };

function drawList(everybody, now) {
  const wanted = $("search").value.trim().toLowerCase();
  const found = everybody
    .filter((person) => !wanted || `${person.reference} ${person.handle ?? ""}`.toLowerCase().includes(wanted))
    .map((person) => ({ person, look: lookOf(person, now), name: nameOf(person) }))
    .sort((one, other) => ORDER[one.look] - ORDER[other.look] || compare(one.name, other.name) || compare(one.person.key, other.person.key));
  const shown = found.slice(0, MAX_ROWS);
  const kept = new Set(shown.map(({ person }) => person));
  for (const [person, row] of rows) {
    if (!kept.has(person)) {
      row.item.remove();
      rows.delete(person);
    }
  }
  let before = null;
  for (const entry of shown) {
    const row = rows.get(entry.person) ?? makeRow(entry.person);
    fillRow(row, entry, now);
    const place = before ? before.nextSibling : $("people").firstChild;
    if (place !== row.item) $("people").insertBefore(row.item, place);
    before = row.item;
  }
  const rest = found.length - shown.length;
  const none = wanted ? "Nobody is called so." : "Nobody has been asked.";
  setText($("more"), rest > 0 ? `and ${rest.toLocaleString()} more: type a name to find them` : found.length ? "" : none);
}

function makeRow(person) {
  const item = document.createElement("li");
  const button = element("button", "row", item);
  button.type = "button";
  button.addEventListener("click", () => select(selected === person ? null : person));
  const row = {
    item, button, glyph: glyph(button), name: element("span", "name", button), age: element("span", "age", button),
    note: element("span", "state", button),
  };
  rows.set(person, row);
  return row;
}

function fillRow(row, { person, look, name }, now) {
  setGlyph(row.glyph, look);
  setText(row.name, name);
  setText(row.note, stateOf(person));
  setText(row.age, person.position ? age(now - person.position.at) : "");
  const chosen = String(person === selected);
  if (row.button.getAttribute("aria-pressed") !== chosen) row.button.setAttribute("aria-pressed", chosen);
}

function drawCard() {
  $("card").hidden = !selected;
  if (!selected) return;
  setText($("card-name"), nameOf(selected));
  const facts = [
    ["State", stateOf(selected)],
    ["Handle", selected.reference && selected.handle],
    ["Position", selected.position && `${age(clock() - selected.position.at)} old`],
    ["Place", selected.place],
    ["Moved", selected.trail.length > 1 && `${distance(lengthOf(selected.trail))} in the last minutes`],
  ].filter(([, value]) => value);
  const shown = JSON.stringify(facts);
  if ($("card-facts").dataset.shown !== shown) {
    $("card-facts").dataset.shown = shown;
    $("card-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", null, name), element("dd", "", null, value)]));
  }
  $("card-follow").hidden = !selected.position;
  $("card-follow").setAttribute("aria-pressed", String(following));
}

function drawEvents() {
  const events = (selected ? selected.events : people.events).slice(-MAX_LINES).reverse();
  setText($("events-title"), selected ? `Events of ${nameOf(selected)}` : "Events");
  $("no-events").hidden = events.length > 0;
  const list = $("events");
  const newest = events[0];
  if (list.newest === newest && list.childElementCount === events.length) return;
  list.newest = newest;
  list.replaceChildren(...events.map((entry) => {
    const item = document.createElement("li");
    element("time", "", item, new Date(entry.at).toLocaleTimeString());
    const text = element("span", "", item);
    if (!selected && entry.who) element("b", "", text, `${nameOf(entry.who)} `);
    text.append(phrase(entry));
    return item;
  }));
}

const PHRASES = {
  "location.requested": () => "was asked",
  "location.request.rejected": ({ reason }) => `cannot be asked: ${words(reason)}`,
  "location.request.expired": () => "did not answer in time",
  "location.sharing.started": () => "shares",
  "location.updated": ({ properties }, moved) =>
    [moved >= 1 ? `moved ${distance(moved)}` : "was seen", properties.locality ?? properties.address].filter(Boolean).join(": "),
  "location.sharing.stale": () => "shares, but shows nothing new",
  "location.sharing.unreadable": () => "shares under another handle",
  "location.sharing.stopped": ({ reason }) => `shares no more: ${words(reason)}`,
  "location.tracking.ended": ({ reason }) => `is tracked no more: ${words(reason)}`,
  "location.place.entered": ({ place }) => `entered ${place.name}`,
  "location.place.left": ({ place }) => `left ${place.name}`,
};

function phrase({ type, data, moved }) {
  try {
    return PHRASES[type](data, moved);
  } catch {
    return type;
  }
}

function stateOf(person) {
  if (person.state === "sharing") return person.position ? "sharing" : "sharing, no position yet";
  return person.reason ? `${person.state}: ${words(person.reason)}` : person.state;
}

function words(text) {
  return String(text).replaceAll("_", " ");
}

/** A duration in the largest unit that fits. */
function age(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function distance(metres) {
  return metres < 1000 ? `${Math.round(metres)} m` : `${(metres / 1000).toFixed(1)} km`;
}

const collator = new Intl.Collator(undefined, { numeric: true });
const compare = collator.compare.bind(collator);

function element(name, className, parent, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent?.append(made);
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function glyph(parent) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  parent.append(svg);
  return svg;
}

function setGlyph(svg, look) {
  if (svg.dataset.look === look) return;
  svg.dataset.look = look;
  svg.setAttribute("class", `glyph ${look}`);
  svg.firstChild.setAttribute("href", `#glyph-${look}`);
}

/** The credit as HTML: text, in which a URL is a link. */
function credit(text) {
  const holder = document.createElement("span");
  for (const part of text.split(/(https?:\/\/\S+)/)) {
    if (!part.startsWith("http")) {
      holder.append(part);
      continue;
    }
    const link = element("a", "", holder, part.replace(/^https?:\/\//, ""));
    Object.assign(link, { href: part, target: "_blank", rel: "noopener noreferrer" });
  }
  return holder.innerHTML;
}

export { connect, layer, map, people };

// Ages grow while nothing happens.
setInterval(() => {
  changed();
  refresh();
}, 1000);
setInterval(() => people.all.size < MANY && refresh(), 250);
connect();
