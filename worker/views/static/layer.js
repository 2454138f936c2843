// People on the map, drawn on one canvas: thousands of people are one picture, not thousands of elements.

import { lookOf, nameOf, TRAIL_MS } from "./people.js";

const MOVE_MS = 900;
const LEAVE_MS = 1500;
const RADIUS = 6;
const MAX_TRAILS = 600; // with more people in view their trails would be a tangle
const TRAIL_STEPS = 6;
const MAX_LABELS = 80;
const HIT_PIXELS = 14;
const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
const MIN_GRID_PIXELS = 110;
const CONTROLS = { top: 40, right: 110, bottom: 70 }; // pixels without labels of degrees

export class PeopleLayer {
  /** `clock` returns the server's time; `graticule`: draw one, as there are no tiles. */
  constructor(map, people, clock, { graticule }) {
    this.map = map;
    this.people = people;
    this.clock = clock;
    this.graticule = graticule;
    this.selected = null;
    this.hovered = null;
    // Painters of what is under the people, such as places: (context, view) => void.
    this.below = [];
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.canvas = document.createElement("canvas");
    this.canvas.className = "people-layer";
    this.canvas.setAttribute("aria-hidden", "true");
    map.getContainer().append(this.canvas);
    this.context = this.canvas.getContext("2d");
    this.drawn = []; // what was drawn last, with its pixels
    this.frame = 0;
    map.on("move zoom resize viewreset", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColours());
    this.#readColours();
  }

  /** Draw with the next frame. */
  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#draw());
  }

  /** The person at a point of the map's container, or null. */
  at(point) {
    let nearest = null;
    let best = HIT_PIXELS;
    for (const { person, x, y } of this.drawn) {
      const distance = Math.hypot(x - point.x, y - point.y);
      if (distance < best) [nearest, best] = [person, distance];
    }
    return nearest;
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.colours = Object.fromEntries(
      ["fresh", "recent", "older", "stale", "ink", "paper", "grid", "grid-fine", "grid-text"].map((name) => [name, colour(`--${name}`)]),
    );
    this.font = `600 12px ${style.getPropertyValue("--sans")}`;
    this.sprites = new Map();
    this.redraw();
  }

  #draw() {
    this.frame = 0;
    const ratio = window.devicePixelRatio || 1;
    const { x: width, y: height } = this.map.getSize();
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    const context = this.context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const view = this.#view(width, height);
    if (this.graticule) this.#drawGraticule(context, view);
    for (const paint of this.below) paint(context, view);
    const now = this.clock();
    const moving = this.#collect(view, now);
    if (this.drawn.length <= MAX_TRAILS) for (const shown of this.drawn) this.#drawTrail(context, view, shown, now);
    for (const shown of this.drawn) this.#drawPoint(context, shown, ratio);
    this.#drawLabels(context);
    if (moving) this.redraw();
  }

  /** What of the world is seen; `toX` and `toY` lead from 0 … 1 of the world to pixels, the nearest way around it. */
  #view(width, height) {
    const size = 256 * 2 ** this.map.getZoom();
    const origin = this.map.getPixelBounds().min;
    const centre = (origin.x + width / 2) / size;
    return {
      width, height, size,
      toX: (x) => (x - Math.round(x - centre)) * size - origin.x,
      toY: (y) => y * size - origin.y,
    };
  }

  /** Find who is in view and where they are now; return whether anybody is still moving. */
  #collect(view, now) {
    this.drawn = [];
    let moving = false;
    for (const person of this.people.all.values()) {
      const leaving = person.left && now - person.leftAt < LEAVE_MS;
      const position = person.position ?? (leaving ? person.left : null);
      if (!position) continue;
      let [x, y] = [view.toX(position.x), view.toY(position.y)];
      const part = (now - person.movedAt) / MOVE_MS;
      if (person.from && part < 1 && !this.still.matches) {
        const eased = 1 - (1 - Math.max(0, part)) ** 3;
        [x, y] = [mix(view.toX(person.from.x), x, eased), mix(view.toY(person.from.y), y, eased)];
        moving = true;
      }
      moving ||= leaving;
      if (x < -50 || y < -50 || x > view.width + 50 || y > view.height + 50) continue;
      const look = person.position ? lookOf(person, now) : "stale";
      const alpha = leaving ? 1 - (now - person.leftAt) / LEAVE_MS : look === "stale" ? 0.6 : 1;
      this.drawn.push({ person, x, y, look, alpha });
    }
    return moving;
  }

  /** Draw a line that fades with age, in a few steps: single segments would show every joint. */
  #drawTrail(context, view, { person, x, y, look, alpha }, now) {
    const trail = person.trail;
    if (trail.length < 2) return;
    const chosen = person === this.selected;
    context.strokeStyle = this.colours[look];
    context.lineWidth = chosen ? 4 : 2.5;
    context.lineCap = "butt";
    context.lineJoin = "round";
    const pixels = trail.map((point) => [view.toX(point.x), view.toY(point.y)]);
    pixels[pixels.length - 1] = [x, y];
    const stepOf = (point) => Math.max(1, Math.ceil((1 - (now - point.at) / TRAIL_MS) * TRAIL_STEPS));
    for (let begin = 0; begin < trail.length - 1;) {
      const step = stepOf(trail[begin + 1]);
      context.beginPath();
      context.moveTo(...pixels[begin]);
      let end = begin + 1;
      for (; end < trail.length && stepOf(trail[end]) === step; end += 1) context.lineTo(...pixels[end]);
      context.globalAlpha = alpha * (chosen ? 0.95 : 0.6) * step / TRAIL_STEPS;
      context.stroke();
      begin = end - 1;
    }
    context.globalAlpha = 1;
  }

  #drawPoint(context, { person, x, y, look, alpha }, ratio) {
    context.globalAlpha = alpha;
    if (person === this.selected || person === this.hovered) {
      context.fillStyle = this.colours[look];
      context.globalAlpha = alpha * 0.25;
      context.beginPath();
      context.arc(x, y, RADIUS + 9, 0, 2 * Math.PI);
      context.fill();
      context.globalAlpha = alpha;
    }
    const sprite = this.#sprite(look, ratio);
    const size = sprite.width / ratio;
    context.drawImage(sprite, x - size / 2, y - size / 2, size, size);
    context.globalAlpha = 1;
  }

  /** The same signs as in the list and the legend, each drawn once. */
  #sprite(look, ratio) {
    let sprite = this.sprites.get(look);
    if (sprite?.ratio === ratio) return sprite;
    sprite = document.createElement("canvas");
    sprite.ratio = ratio;
    sprite.width = sprite.height = Math.ceil((2 * RADIUS + 8) * ratio);
    const context = sprite.getContext("2d");
    context.scale(ratio, ratio);
    context.translate(sprite.width / ratio / 2, sprite.height / ratio / 2);
    const circle = (radius) => {
      context.beginPath();
      context.arc(0, 0, radius, 0, 2 * Math.PI);
    };
    context.fillStyle = this.colours.paper;
    circle(RADIUS + 2);
    context.fill();
    context.fillStyle = context.strokeStyle = this.colours[look];
    if (look === "fresh") {
      circle(RADIUS);
      context.fill();
    } else {
      if (look === "stale") context.setLineDash([2.6, 2.4]);
      context.lineWidth = look === "recent" ? 2.75 : 2;
      circle(RADIUS - context.lineWidth / 2);
      context.stroke();
      if (look === "recent") {
        circle(2.2);
        context.fill();
      }
    }
    this.sprites.set(look, sprite);
    return sprite;
  }

  #drawLabels(context) {
    const chosen = this.drawn.filter(({ person }) => person === this.selected || person === this.hovered);
    const labelled = this.drawn.length <= MAX_LABELS ? [...chosen, ...this.drawn] : chosen;
    // Names must not hide points either, except for people who are hovered or selected.
    const taken = this.drawn.length > MAX_LABELS ? [] : this.drawn.map(({ person, x, y }) => ({
      person, left: x - RADIUS, top: y - RADIUS, right: x + RADIUS, bottom: y + RADIUS,
    }));
    context.font = this.font;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const { person, x, y, alpha } of new Set(labelled)) {
      const name = shorten(nameOf(person));
      const width = context.measureText(name).width;
      const gap = RADIUS + 5;
      const places = [[x + gap, y], [x - gap - width, y], [x - width / 2, y - 17], [x - width / 2, y + 17]];
      const boxes = places.map(([left, middle]) => ({ left, middle, top: middle - 8, right: left + width + 4, bottom: middle + 8 }));
      const free = boxes.find((box) => !taken.some((other) => other.person !== person && overlap(box, other)));
      const asked = chosen.some((shown) => shown.person === person);
      const box = free ?? (asked ? boxes[0] : null);
      if (!box) continue;
      taken.push(box);
      context.globalAlpha = person.position ? Math.max(alpha, 0.85) : alpha; // to be read also where the sign fades
      context.strokeStyle = this.colours.paper;
      context.lineWidth = 3.5;
      context.strokeText(name, box.left, box.middle);
      context.fillStyle = this.colours.ink;
      context.fillText(name, box.left, box.middle);
      context.globalAlpha = 1;
    }
  }

  #drawGraticule(context, view) {
    const { width, height, size } = view;
    const bounds = this.map.getBounds();
    const [west, east] = [bounds.getWest(), bounds.getEast()];
    const [south, north] = [Math.max(-85, bounds.getSouth()), Math.min(85, bounds.getNorth())];
    const step = STEPS.findLast((degrees) => degrees / 360 * size >= MIN_GRID_PIXELS) ?? STEPS[0];
    const crisp = (value) => Math.round(value) + 0.5;
    const meridian = (degrees) => crisp(this.map.latLngToContainerPoint([0, degrees]).x);
    const parallel = (degrees) => crisp(this.map.latLngToContainerPoint([degrees, 0]).y);
    const rule = (distance) => {
      context.beginPath();
      for (const degrees of multiples(distance, west, east)) {
        context.moveTo(meridian(degrees), 0);
        context.lineTo(meridian(degrees), height);
      }
      for (const degrees of multiples(distance, south, north)) {
        context.moveTo(0, parallel(degrees));
        context.lineTo(width, parallel(degrees));
      }
      context.stroke();
    };
    context.lineWidth = 1;
    context.strokeStyle = this.colours["grid-fine"];
    rule(step / 5);
    context.strokeStyle = this.colours.grid;
    rule(step);
    context.fillStyle = this.colours["grid-text"];
    context.font = this.font.replace("600 12px", "11px");
    context.textBaseline = "alphabetic";
    const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
    const label = (degrees, before, after) =>
      `${Math.abs(degrees).toFixed(decimals)}°${degrees < 0 ? before : degrees > 0 ? after : ""}`;
    for (const degrees of multiples(step, west, east)) {
      const x = meridian(degrees);
      const wrapped = ((degrees + 540) % 360 + 360) % 360 - 180;
      if (x < width - CONTROLS.right) context.fillText(label(wrapped, " W", " E"), x + 5, 16);
    }
    for (const degrees of multiples(step, south, north)) {
      const y = parallel(degrees);
      if (y > CONTROLS.top && y < height - CONTROLS.bottom) context.fillText(label(degrees, " S", " N"), 8, y - 5);
    }
  }
}

function* multiples(step, from, to) {
  for (let number = Math.ceil(from / step); number * step <= to; number += 1) yield number * step;
}

/** The bounds of positions, [[south, west], [north, east]], the short way around the world. */
export function boundsOf(positions) {
  const longitudes = positions.map(({ longitude }) => longitude).sort((one, other) => one - other);
  let west = longitudes[0];
  let widest = west + 360 - longitudes.at(-1);
  for (let index = 1; index < longitudes.length; index += 1) {
    const gap = longitudes[index] - longitudes[index - 1];
    if (gap > widest) [west, widest] = [longitudes[index], gap];
  }
  const latitudes = positions.map(({ latitude }) => latitude);
  const [south, north] = latitudes.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [90, -90]);
  return [[south, west], [north, west + 360 - widest]];
}

function mix(one, other, part) {
  return one + (other - one) * part;
}

function overlap(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

function shorten(text) {
  return text.length > 28 ? `${text.slice(0, 27)}…` : text;
}
