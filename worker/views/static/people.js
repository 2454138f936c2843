// What is known about people and the chats in which they were asked, from GeoJSON features and events.
// No drawing, no network: positions in degrees, moments in milliseconds since 1970.

export const TRAIL_MS = 15 * 60_000;
const MAX_TRAIL_POINTS = 120;
const GONE_MS = 5 * 60_000; // how long people who have stopped stay in the list
const MAX_EVENTS = 200; // for each person, and for all together
const MAX_SEEN = 20_000; // ids of events, as events may come again

// Upper bounds of a position's age, in milliseconds.
const AGES = [["fresh", 60_000], ["recent", 300_000], ["older", 1_800_000], ["stale", Infinity]];

const OVER = new Set(["stopped", "ended", "refused", "no answer"]);

/** Web Mercator, the whole world from 0 to 1. */
export function project(longitude, latitude) {
  const sine = Math.sin(Math.max(-85.0511, Math.min(85.0511, latitude)) * Math.PI / 180);
  return { x: longitude / 360 + 0.5, y: 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI) };
}

export class People {
  constructor() {
    this.all = new Map(); // by key
    this.chats = new Map(); // the people of each chat
    this.events = []; // the last ones of everybody, newest last; positions are not among them
    this.seen = new Set(); // ids of events
    this.shares = new Map(); // by chat: what /latest says about the share, such as when and why it is read next
    this.replaying = false; // history is coming: show no movement
  }

  /** Begin again with what /latest shows. People missing there are gone; `complete`: it has all shares. */
  reset({ features, shares }, complete) {
    const shown = new Set();
    for (const feature of features) shown.add(this.#place(feature, "").key);
    for (const person of this.all.values()) {
      const waits = !person.position && (person.chatId in shares || !complete);
      if (shown.has(person.key) || waits || OVER.has(person.state)) continue;
      person.changedAt = Date.now();
      this.#leave(person, "stopped", Date.now());
    }
    this.shares.clear();
    this.know(shares);
  }

  /** Learn of shares, which also tell who has been asked and has not answered. */
  know(shares) {
    for (const [chatId, share] of Object.entries(shares)) {
      this.shares.set(chatId, share);
      if (share.phase !== "tracking" && !this.chats.has(chatId)) {
        this.#row(chatId, null).state = share.prompt ? "asked" : "tracked";
      }
      for (const person of this.of(chatId)) person.reference ||= share.reference ?? "";
    }
  }

  /** Learn from an event in CloudEvents' JSON format. Types without a handler are only listed. */
  take(event, now) {
    const chatId = event.source?.startsWith("/linq/chats/") ? event.source.slice("/linq/chats/".length) : null;
    if (chatId === null || this.seen.has(event.id)) return;
    this.seen.add(event.id);
    if (this.seen.size > MAX_SEEN) this.seen.delete(this.seen.values().next().value);
    HANDLERS[event.type]?.(this, chatId, event, now);
    const concerned = event.subject ? [this.#row(chatId, event.subject)] : this.of(chatId);
    const entry = { at: Date.parse(event.time), type: event.type, data: event.data, who: concerned[0] ?? null, moved: 0 };
    if (event.type === "location.updated") entry.moved = lengthOf(concerned[0].trail.slice(-2));
    for (const person of concerned) keep(person.events, entry);
    if (event.type !== "location.updated") keep(this.events, entry);
  }

  /** Forget people who stopped a while ago, and old parts of trails. */
  prune(now) {
    for (const person of this.all.values()) {
      if (OVER.has(person.state) && now - person.changedAt > GONE_MS) this.#forget(person);
      while (person.trail.length > 1 && now - person.trail[0].at > TRAIL_MS) person.trail.shift();
    }
  }

  /** The rows of a chat: one for each handle, or one without while nobody shares. */
  of(chatId) {
    return [...(this.chats.get(chatId) ?? [])];
  }

  request(chatId, event) {
    const rows = this.of(chatId);
    for (const person of rows.length ? rows : [this.#row(chatId, null)]) this.#change(person, "asked", event);
  }

  start(chatId, event) {
    this.#change(this.#row(chatId, event.data.handle), "sharing", event);
  }

  move(event, now) {
    const person = this.#place(event.data, event.reference, now);
    this.#change(person, "sharing", event);
  }

  change(chatId, event, state, reason) {
    const rows = event.data.handle ? [this.#row(chatId, event.data.handle)] : this.of(chatId);
    for (const person of rows) this.#change(person, state, event, reason);
  }

  finish(chatId, event, state, now, reason) {
    const rows = event.data.handle ? [this.#row(chatId, event.data.handle)] : this.of(chatId);
    for (const person of rows) {
      // The reason that is known already says more than the end itself.
      if (state === "ended" && OVER.has(person.state)) continue;
      this.#change(person, state, event, reason);
      this.#leave(person, state, now);
    }
  }

  /** Forget people whom /latest no longer shows: no event says that somebody in a group was forgotten. */
  compare(features, asked) {
    const shown = new Set(features.map(({ properties: { chat_id: chatId, handle } }) => keyOf(chatId, handle)));
    const gone = [...this.all.values()].filter(({ key, position, movedAt }) => position && movedAt < asked && !shown.has(key));
    this.forget(gone);
  }

  /** Forget people at once, and their events. */
  forget(people) {
    for (const person of people) this.#forget(person);
    this.events = this.events.filter(({ who }) => !people.includes(who));
  }

  #row(chatId, handle) {
    const key = keyOf(chatId, handle);
    let person = this.all.get(key);
    if (!person && handle !== null) {
      // The person who was asked is now known by a handle.
      const unnamed = this.all.get(keyOf(chatId, null));
      if (unnamed) {
        this.all.delete(unnamed.key);
        person = Object.assign(unnamed, { key, handle });
        this.all.set(key, person);
      }
    }
    if (!person) {
      person = {
        key, chatId, handle, reference: "", state: "asked", reason: "", changedAt: 0,
        position: null, from: null, movedAt: 0, left: null, leftAt: 0, trail: [], events: [], place: "",
      };
      this.all.set(key, person);
      if (!this.chats.has(chatId)) this.chats.set(chatId, new Set());
      this.chats.get(chatId).add(person);
    }
    return person;
  }

  #forget(person) {
    this.all.delete(person.key);
    const others = this.chats.get(person.chatId);
    others.delete(person);
    if (!others.size) this.chats.delete(person.chatId);
  }

  #change(person, state, event, reason = "") {
    person.state = state;
    person.reason = reason;
    person.changedAt = Date.parse(event.time);
    if (event.reference) person.reference = event.reference;
  }

  #place(feature, reference, now = 0) {
    const { chat_id: chatId, handle, updated_at: updatedAt, received_at: receivedAt, locality, address } = feature.properties;
    const [longitude, latitude] = feature.geometry.coordinates;
    const person = this.#row(chatId, handle);
    const at = Date.parse(updatedAt ?? receivedAt);
    if (person.position && at < person.position.at) {
      // History that comes after the latest position: it belongs to the trail.
      insert(person.trail, { longitude, latitude, at, ...project(longitude, latitude) });
      return person;
    }
    const position = { longitude, latitude, at, ...project(longitude, latitude) };
    person.from = this.replaying ? null : person.position;
    person.movedAt = now;
    person.position = position;
    person.left = null;
    person.place = locality ?? address ?? "";
    if (reference) person.reference = reference;
    if (person.state !== "sharing") person.state = "sharing";
    insert(person.trail, position);
    return person;
  }

  #leave(person, state, now) {
    person.state = state;
    person.left = person.position;
    person.leftAt = this.replaying ? 0 : now;
    person.position = null;
    person.trail = [];
  }
}

const HANDLERS = {
  "location.requested": (people, chatId, event) => people.request(chatId, event),
  "location.request.rejected": (people, chatId, event, now) => people.finish(chatId, event, "refused", now, event.data.reason),
  "location.request.expired": (people, chatId, event, now) => people.finish(chatId, event, "no answer", now),
  "location.sharing.started": (people, chatId, event) => people.start(chatId, event),
  "location.updated": (people, _chatId, event, now) => people.move(event, now),
  "location.sharing.stale": (people, chatId, event) => people.change(chatId, event, "stale"),
  "location.sharing.unreadable": (people, chatId, event) => people.change(chatId, event, "unreadable"),
  "location.sharing.stopped": (people, chatId, event, now) => people.finish(chatId, event, "stopped", now, event.data.reason),
  "location.tracking.ended": (people, chatId, event, now) => {
    people.shares.delete(chatId);
    if (event.data.reason === "forgotten") people.forget(people.of(chatId));
    else people.finish(chatId, event, "ended", now, event.data.reason);
  },
};

function keyOf(chatId, handle) {
  return `${chatId} ${handle ?? ""}`;
}

/** A name to show: the caller's reference, else the handle, else the beginning of the chat's id. */
export function nameOf(person) {
  return person.reference || person.handle || `chat ${person.chatId.slice(0, 8)}`;
}

/** The style of a person's point, by the age of the position; "asked" and "gone" have none. */
export function lookOf(person, now) {
  if (!person.position) return OVER.has(person.state) ? "gone" : "asked";
  if (person.state === "stale") return "stale";
  const age = now - person.position.at;
  return AGES.find(([, limit]) => age < limit)[0];
}

/** When and why a person is read next, from /latest; undefined if unknown or not read. */
export function nextReadOf(people, person) {
  return OVER.has(person.state) ? undefined : people.shares.get(person.chatId);
}

/** Metres along a trail. */
export function lengthOf(trail) {
  let metres = 0;
  for (let index = 1; index < trail.length; index += 1) {
    const [one, other] = [trail[index - 1], trail[index]];
    const east = (other.longitude - one.longitude) * Math.cos(one.latitude * Math.PI / 180);
    metres += Math.hypot(east, other.latitude - one.latitude) * 111_195;
  }
  return metres;
}

function keep(events, entry) {
  events.push(entry);
  if (events.length > MAX_EVENTS) events.shift();
}

function insert(trail, point) {
  let index = trail.length;
  while (index > 0 && trail[index - 1].at > point.at) index -= 1;
  if (index > 0 && trail[index - 1].at === point.at) return;
  trail.splice(index, 0, point);
  if (trail.length > MAX_TRAIL_POINTS) trail.shift();
}
