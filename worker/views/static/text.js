// The words of the map.

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

/** What an event says, to follow the person's name. */
export function phrase({ type, data, moved }) {
  try {
    return PHRASES[type](data, moved);
  } catch {
    return type;
  }
}

const RULES = JSON.parse(document.body.dataset.rules); // the rules in words

/** When a share is read next, and by which rule. */
export function nextRead(share, now) {
  return ["next read " + moment(share, now), share.rule].filter(Boolean).join(", ");
}

/** The same, explained. */
export function whyRead(share, now) {
  return moment(share, now) + (share.rule && `: ${RULES[share.rule] ?? ""} (${share.rule})`);
}

function moment({ next_read_at: at }, now) {
  const left = Date.parse(at) - now;
  return left < 500 ? "now" : `in ${age(left)}`;
}

/** A person's state, and why. */
export function stateOf(person) {
  if (person.state === "sharing") return person.position ? "sharing" : "sharing, no position yet";
  return person.reason ? `${person.state}: ${words(person.reason)}` : person.state;
}

function words(text) {
  return String(text).replaceAll("_", " ");
}

/** A duration in the largest unit that fits. */
export function age(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A distance on the ground. */
export function distance(metres) {
  return metres < 1000 ? `${Math.round(metres)} m` : `${(metres / 1000).toFixed(1)} km`;
}
