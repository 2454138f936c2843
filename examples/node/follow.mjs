// Ask a contact for the location, and follow it as a member of a consumer group until the share ends.
//
//   npm install redis
//   node follow.mjs CHAT_ID [REFERENCE]
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";

const [chatId, reference = "order-7"] = process.argv.slice(2);
const prefix = process.env.KEY_PREFIX ?? "location";
const [stream, group, consumer] = [`${prefix}:events`, "dispatch", "dispatch-1"];
const redis = createClient({ url: process.env.REDIS_URL ?? "redis://localhost:6379/0" });
redis.on("error", (error) => console.error(error.message)); // it connects again by itself

// The fields of an entry are a CloudEvent's attributes; its data is JSON.
const cloudEvent = ({ data, ...attributes }) => ({ ...attributes, data: JSON.parse(data) });

async function queue(f, k) {
  const [id, now] = [randomUUID(), Date.now()];
  await redis
    .multi()
    .set(`arq:job:${id}`, JSON.stringify({ t: null, f, a: [], k, et: now }), {
      expiration: { type: "PX", value: 86_400_000 },
    })
    .zAdd(`${prefix}:jobs`, { score: now, value: id })
    .exec();
  return id;
}

async function resultOf(id) {
  for (;;) {
    const found = await redis.get(`arq:result:${id}`);
    if (found !== null) {
      const { s: succeeded, r: answer } = JSON.parse(found);
      if (!succeeded) throw new Error(`${answer.error}: ${JSON.stringify(answer.detail)}`);
      return answer;
    }
    await sleep(200);
  }
}

async function createGroup() {
  try {
    await redis.xGroupCreate(stream, group, "$", { MKSTREAM: true });
  } catch (error) {
    if (!error.message.startsWith("BUSYGROUP")) throw error; // it is there already
  }
}

// Delivery is at least once: the same fact always has the same id. Keep the ids where your work is kept.
const seen = new Set();

function handle(event) {
  if (seen.has(event.id)) return false;
  seen.add(event.id);
  console.log(JSON.stringify(event));
  return event.type === "location.tracking.ended" && event.reference === reference;
}

async function follow() {
  // First what this consumer was given before and has not acknowledged, then what is new.
  for (let from = "0"; ; ) {
    const read = await redis.xReadGroup(group, consumer, { key: stream, id: from }, { COUNT: 100, BLOCK: 5000 });
    const entries = read?.[0].messages ?? [];
    if (from === "0" && entries.length === 0) from = ">";
    for (const { id, message } of entries) {
      const ended = message?.type && handle(cloudEvent(message)); // an entry that was trimmed has no fields
      await redis.xAck(stream, group, id);
      if (ended) return;
    }
  }
}

await redis.connect();
await createGroup(); // before the job, so that no event is missed
console.error(await resultOf(await queue("request_location", { chat_id: chatId, reference })));
await follow();
await redis.close();
