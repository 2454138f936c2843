// The panel beside the map: how many share, the list of people, the selected person, and the events.

import { lengthOf, lookOf, nameOf, nextReadOf } from "./people.js";
import { age, distance, nextRead, phrase, stateOf, whyRead } from "./text.js";

export const $ = (id) => document.getElementById(id);
const MAX_ROWS = 200;
const MAX_LINES = 60;
const ORDER = { fresh: 0, recent: 0, older: 0, stale: 0, asked: 1, gone: 2 };

export class Panel {
  /** `choice`: the selected person, and whether the map follows; `select` selects another one, or null. */
  constructor(people, clock, choice, select) {
    this.people = people;
    this.clock = clock;
    this.choice = choice;
    this.select = select;
    this.rows = new Map(); // the elements of each person in the list
    $("search").addEventListener("input", () => this.draw());
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
  }

  draw() {
    const now = this.clock();
    const everybody = [...this.people.all.values()];
    this.#drawSummary(everybody, now);
    this.#drawList(everybody, now);
    this.drawCard();
    this.#drawEvents();
  }

  #drawSummary(everybody, now) {
    const counts = { sharing: 0, stale: 0, asked: 0 };
    for (const person of everybody) {
      const look = lookOf(person, now);
      if (look === "asked") counts.asked += 1;
      else if (look === "stale") counts.stale += 1;
      else if (look !== "gone") counts.sharing += 1;
    }
    const parts = [`${counts.sharing} sharing`, counts.stale && `${counts.stale} stale`, counts.asked && `${counts.asked} asked`];
    setText($("summary"), parts.filter(Boolean).join(" · "));
    $("empty").hidden = counts.sharing + counts.stale > 0 || this.people.replaying;
  }

  #drawList(everybody, now) {
    const wanted = $("search").value.trim().toLowerCase();
    const found = everybody
      .filter((person) => !wanted || `${person.reference} ${person.handle ?? ""}`.toLowerCase().includes(wanted))
      .map((person) => ({ person, look: lookOf(person, now), name: nameOf(person) }))
      .sort((one, other) => ORDER[one.look] - ORDER[other.look] || compare(one.name, other.name) || compare(one.person.key, other.person.key));
    const shown = found.slice(0, MAX_ROWS);
    const kept = new Set(shown.map(({ person }) => person));
    for (const [person, row] of this.rows) {
      if (!kept.has(person)) {
        row.item.remove();
        this.rows.delete(person);
      }
    }
    let before = null;
    for (const entry of shown) {
      const row = this.rows.get(entry.person) ?? this.#makeRow(entry.person);
      this.#fillRow(row, entry, now);
      const place = before ? before.nextSibling : $("people").firstChild;
      if (place !== row.item) $("people").insertBefore(row.item, place);
      before = row.item;
    }
    const rest = found.length - shown.length;
    const none = wanted ? "Nobody is called so." : "Nobody has been asked.";
    setText($("more"), rest > 0 ? `and ${rest.toLocaleString()} more: type a name to find them` : found.length ? "" : none);
  }

  #makeRow(person) {
    const item = document.createElement("li");
    const button = element("button", "row", item);
    button.type = "button";
    button.addEventListener("click", () => this.select(this.choice.person === person ? null : person));
    const row = {
      item, button, glyph: glyph(button), name: element("span", "name", button), age: element("span", "age", button),
    };
    const about = element("span", "about", button);
    row.state = element("span", "", about);
    row.next = element("span", "", about);
    this.rows.set(person, row);
    return row;
  }

  #fillRow(row, { person, look, name }, now) {
    setGlyph(row.glyph, look);
    setText(row.name, name);
    const share = nextReadOf(this.people, person);
    setText(row.state, stateOf(person));
    setText(row.next, share ? nextRead(share, now) : "");
    setText(row.age, person.position ? age(now - person.position.at) : "");
    const chosen = String(person === this.choice.person);
    if (row.button.getAttribute("aria-pressed") !== chosen) row.button.setAttribute("aria-pressed", chosen);
  }

  /** Draw the selected person. */
  drawCard() {
    const selected = this.choice.person;
    $("card").hidden = !selected;
    if (!selected) return;
    setText($("card-name"), nameOf(selected));
    const share = nextReadOf(this.people, selected);
    const facts = [
      ["State", stateOf(selected)],
      ["Handle", selected.reference && selected.handle],
      ["Position", selected.position && `${age(this.clock() - selected.position.at)} old`],
      ["Place", selected.place],
      ["Next read", share && whyRead(share, this.clock())],
      ["Moved", selected.trail.length > 1 && `${distance(lengthOf(selected.trail))} in the last minutes`],
    ].filter(([, value]) => value);
    const shown = JSON.stringify(facts);
    if ($("card-facts").dataset.shown !== shown) {
      $("card-facts").dataset.shown = shown;
      $("card-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", null, name), element("dd", "", null, value)]));
    }
    $("card-follow").hidden = !selected.position;
    $("card-follow").setAttribute("aria-pressed", String(this.choice.following));
  }

  #drawEvents() {
    const selected = this.choice.person;
    const events = (selected ? selected.events : this.people.events).slice(-MAX_LINES).reverse();
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
}

const collator = new Intl.Collator(undefined, { numeric: true });
const compare = collator.compare.bind(collator);

/** Make an element, in a parent or without one. */
export function element(name, className, parent, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent?.append(made);
  return made;
}

/** Set a text if it differs: screen readers announce only changes. */
export function setText(target, text) {
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
