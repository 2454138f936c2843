// Places of arrivals and departures: circles under the people, as long as a share has them.

import { project } from "./people.js";

const MAX_PLACES = 500;
const EQUATOR_METRES = 40_075_017;
const MIN_LABEL_PIXELS = 10; // smaller circles have no name, which would hide them
const CROSSINGS = new Set(["location.place.entered", "location.place.left"]);

export class Places {
  constructor() {
    this.all = new Map(); // by the place's name, position and radius
    this.drawn = []; // what was drawn last, with its pixels
  }

  /** Learn from an event. */
  take({ type, source, subject, data }) {
    if (type === "location.tracking.ended") this.#letGo(source);
    else if (type === "location.sharing.stopped") this.#moveOut(source, subject);
    else if (CROSSINGS.has(type)) this.#cross(source, subject, data.place, type === "location.place.entered");
  }

  #cross(source, handle, { name, latitude, longitude, radius }, entered) {
    const key = JSON.stringify([name, latitude, longitude, radius]);
    let place = this.all.get(key);
    if (!place) {
      place = { name, latitude, radius, ...project(longitude, latitude), watched: new Set(), inside: new Set() };
      this.all.set(key, place);
      if (this.all.size > MAX_PLACES) this.all.delete(this.all.keys().next().value);
    }
    place.watched.add(source);
    if (entered) place.inside.add(`${source} ${handle}`);
    else place.inside.delete(`${source} ${handle}`);
  }

  #moveOut(source, handle) {
    for (const { inside } of this.all.values()) inside.delete(`${source} ${handle}`);
  }

  #letGo(source) {
    for (const [key, { watched, inside }] of this.all) {
      watched.delete(source);
      for (const person of inside) if (person.startsWith(`${source} `)) inside.delete(person);
      if (!watched.size) this.all.delete(key);
    }
  }

  /** Draw those in view, in the layer's colours and font. */
  paint(context, view, { colours, font }) {
    this.drawn = [];
    for (const { name, latitude, radius, x, y, inside } of this.all.values()) {
      const [left, top] = [view.toX(x), view.toY(y)];
      const pixels = Math.max(2, radius / (EQUATOR_METRES * Math.cos(latitude * Math.PI / 180)) * view.size);
      if (left + pixels < 0 || top + pixels < 0 || left - pixels > view.width || top - pixels > view.height) continue;
      this.drawn.push({ name, x: left, y: top, pixels, inside: inside.size });
      context.beginPath();
      context.arc(left, top, pixels, 0, 2 * Math.PI);
      context.fillStyle = context.strokeStyle = inside.size ? colours.fresh : colours["grid-text"];
      context.globalAlpha = inside.size ? 0.16 : 0.1;
      context.fill();
      context.globalAlpha = 0.8;
      context.lineWidth = 1.5;
      context.setLineDash(inside.size ? [] : [5, 4]);
      context.stroke();
      context.setLineDash([]);
      context.globalAlpha = 1;
      if (pixels < MIN_LABEL_PIXELS) continue;
      context.font = font;
      context.textAlign = "center";
      context.textBaseline = "alphabetic";
      context.lineJoin = "round";
      context.lineWidth = 3.5;
      context.strokeStyle = colours.paper;
      context.strokeText(name, left, top - pixels - 5);
      context.fillStyle = colours["grid-text"];
      context.fillText(name, left, top - pixels - 5);
      context.textAlign = "start";
    }
  }
}
