// Reads CloudEvents in JSON, one a line, with the official SDK: exit status 1, and the fault, where it refuses one.
import { createInterface } from "node:readline";
import { HTTP } from "cloudevents";

const headers = { "content-type": "application/cloudevents+json" };
let read = 0;
for await (const body of createInterface({ input: process.stdin })) {
  try {
    HTTP.toEvent({ headers, body }).validate();
    read += 1;
  } catch (error) {
    console.log(`${error.message} ${JSON.stringify(error.errors ?? "")}: ${body}`);
    process.exitCode = 1;
  }
}
console.error(read);
