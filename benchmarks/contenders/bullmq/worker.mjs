// One BullMQ job per poll, state in separate commands. HTTP_CLIENT chooses Node's own fetch or undici's request on a pool.

import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { Pool, request } from "undici";

const { STUB_URL, REDIS_URL, HTTP_CLIENT } = process.env;
const chats = Number(process.env.CHATS);
const concurrency = Number(process.env.CONCURRENCY);
const headers = { authorization: "Bearer benchmark" };

const pool = new Pool(new URL(STUB_URL).origin, { connections: concurrency });

async function readWithFetch(url) {
  const reply = await fetch(url, { headers });
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  return reply.json();
}

async function readWithUndici(url) {
  const reply = await request(url, { headers, dispatcher: pool });
  if (reply.statusCode !== 200) throw new Error(`status ${reply.statusCode}`);
  return reply.body.json();
}

const read = HTTP_CLIENT === "undici" ? readWithUndici : readWithFetch;

function check(condition, what) {
  if (!condition) throw new TypeError(`not a location reply: ${what}`);
}

function validate(reply) {
  check(reply.success === true && Array.isArray(reply.data?.features), "no features");
  return reply.data.features.map(({ geometry, properties }) => {
    const [longitude, latitude] = geometry.coordinates;
    check(Number.isFinite(longitude) && Number.isFinite(latitude), "coordinates");
    check(typeof properties.handle === "string", "handle");
    const updatedAt = Date.parse(properties.updated_at);
    check(Number.isFinite(updatedAt), "updated_at");
    return { longitude, latitude, handle: properties.handle, updatedAt };
  });
}

const state = new Redis(REDIS_URL, { maxRetriesPerRequest: null });
const connection = new Redis(REDIS_URL, { maxRetriesPerRequest: null });
const queue = new Queue("polls", {
  connection,
  defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
});

async function poll(chatId) {
  for (const position of validate(await read(`${STUB_URL}/v3/chats/${chatId}/location`))) {
    const last = await state.get(`state:${chatId}`);
    if (last !== null && position.updatedAt <= Number(last)) continue;
    await state.set(`state:${chatId}`, position.updatedAt);
    await state.xadd(
      "events", "MAXLEN", 100_000, "*",
      "type", "location.updated", "chat_id", chatId, "handle", position.handle,
      "latitude", position.latitude, "longitude", position.longitude,
      "updated_at", new Date(position.updatedAt).toISOString(),
    );
  }
}

for (let number = 1; number <= chats; number++) {
  const chatId = `00000000-0000-0000-0000-${number.toString(16).padStart(12, "0")}`;
  await queue.add("poll", { chatId });
}

new Worker(
  "polls",
  async (job) => {
    await poll(job.data.chatId);
    await queue.add("poll", job.data);
  },
  { connection, concurrency },
);
