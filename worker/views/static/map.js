// The live map: a client of only /latest and /events.

import { boundsOf, PeopleLayer } from "./layer.js";
import { $, element, Panel, setText } from "./panel.js";
import { People } from "./people.js";
import { Places } from "./places.js";

const RETRY_MS = 2_000;
const REPLAY_MS = 4_000; // longer history is shown while it comes
const MANY = 1_000; // with more people, their list is sorted only once a second
const MAX_LIMIT = 10_000;
const SHARES_MS = 2_000; // how often to ask which chats are read next
const SHARES_MS_EACH = 100; // less often if there are many
const CLOSE_ZOOM = 16;
const FOLLOW_ZOOM = 14; // at least, while somebody is followed
const MARGIN = 60; // pixels around everybody

const people = new People();
const places = new Places();
let clockOffset = 0; // the server's clock minus this one's
const clock = () => Date.now() + clockOffset;

const map = L.map("map", {
  center: [20, 0], zoom: 2, minZoom: 1, zoomSnap: 0.5, zoomControl: false, attributionControl: false,
  zoomAnimation: false, worldCopyJump: true, maxBoundsViscosity: 1, maxBounds: [[-89, -Infinity], [89, Infinity]],
});
const { tiles, attribution, types } = document.body.dataset;
const layer = new PeopleLayer(map, people, clock, { graticule: !tiles });
layer.below.push((context, view) => places.paint(context, view, layer));
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const choice = { person: null, following: false };
const panel = new Panel(people, clock, choice, select);
let fitting = true; // keep everybody in view, until the user moves the map
let seen = false; // somebody has been in view
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
  people.reset(latest, Object.keys(latest.shares).length < MAX_LIMIT);
  listen(latest.last_event_id, latest.features.length);
}

let everybodyAt = 0; // when to ask about everybody again, not only about the selected person

/** Ask when and why chats are read next, which events do not tell. */
async function learnNextReads() {
  if (document.hidden || source?.readyState !== EventSource.OPEN) return;
  const everybody = Date.now() >= everybodyAt;
  if (everybody) everybodyAt = Date.now() + people.all.size * SHARES_MS_EACH;
  else if (!choice.person) return;
  try {
    const query = everybody ? `limit=${MAX_LIMIT}` : `chat_id=${choice.person.chatId}`;
    const asked = clock();
    const reply = await fetch(`latest?${query}`, { cache: "no-store" });
    if (!reply.ok) return;
    const { features, shares, truncated } = await reply.json();
    people.know(shares);
    if (everybody && !truncated) people.compare(features, asked);
    changed();
  } catch {
    // While the server is away, the events' connection waits for it.
  }
}

function tryAgain() {
  showStatus("away", "Connection lost; trying again");
  clearTimeout(retry);
  retry = setTimeout(connect, RETRY_MS);
}

/** Read the events from some minutes back: they tell the names of people, and their tracks. */
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
    // History may begin later than requested; otherwise look up what is missing.
    if (!people.replaying) connect();
  });
  for (const type of types.split(",")) {
    opened.addEventListener(type, (message) => {
      const history = isHistory(message.lastEventId);
      if (!history) endReplay();
      const event = JSON.parse(message.data);
      people.take(event, clock());
      places.take(event);
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
  setText(status, text);
}

function changed() {
  stale = true;
  layer.redraw();
  if (!seen) fit();
}

/** Redraw the panel, and keep in view who should be: a few times a second, however much happens. */
function refresh() {
  if (!stale) return;
  stale = false;
  people.prune(clock());
  const { person } = choice;
  if (person && people.all.get(person.key) !== person) choice.person = layer.selected = null;
  if (fitting) fit();
  if (choice.following && person?.position) centre(person);
  panel.draw();
}

// The map

/** Show everybody, unless everybody is in view already and not just a dot. */
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
  choice.following = false;
  keepEverybodyInView(true);
  panel.drawCard();
}

function select(person) {
  choice.person = layer.selected = person;
  choice.following = Boolean(person?.position);
  if (choice.following) {
    keepEverybodyInView(false);
    centre(person, Math.max(map.getZoom(), FOLLOW_ZOOM));
  }
  changed();
  panel.draw();
  if (person) $("card").scrollIntoView({ block: "nearest" });
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
  choice.following = false;
  keepEverybodyInView(false);
  panel.drawCard();
});
for (const moving of ["wheel", "dblclick"]) map.getContainer().addEventListener(moving, () => keepEverybodyInView(false), { passive: true });
map.getContainer().addEventListener("keydown", () => keepEverybodyInView(false));
map.zoomControl.getContainer().addEventListener("click", () => keepEverybodyInView(false));

$("fit").addEventListener("click", showEverybody);
$("card-close").addEventListener("click", () => select(null));
$("card-follow").addEventListener("click", () => {
  choice.following = !choice.following && Boolean(choice.person?.position);
  if (choice.following) centre(choice.person);
  panel.drawCard();
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "f") showEverybody();
  else if (event.key === "/") $("search").focus();
  else if (event.key === "Escape" && choice.person) select(null);
  else return;
  event.preventDefault();
});

/** Write the credit as text, with URLs as links. */
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

export { connect, layer, map, people, places };

// Ages grow while nothing happens.
setInterval(() => {
  changed();
  refresh();
}, 1000);
setInterval(learnNextReads, SHARES_MS);
setInterval(() => people.all.size < MANY && refresh(), 250);
connect();
