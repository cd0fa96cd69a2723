// Submits a goal, or a plan from a file, and follows the task to its result: by the contracts alone, without a library
// of Waybill's. `node client.mjs ADDRESS GOAL [SOURCE ...]`, with `@plan.json` in place of the goal for a plan.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("./protos", import.meta.url));
const TENANT = process.env.WAYBILL_TENANT ?? "default";
const TRIES_IN_A_ROW = 20;
const PAUSE_MS = 500;

/** The classes of the contracts. Names stay as in the protos, enums are texts, 64-bit numbers are texts too. */
export function contracts() {
  const options = { includeDirs: [PROTOS], keepCase: true, enums: String, longs: String, defaults: true, oneofs: true };
  return grpc.loadPackageDefinition(protoLoader.loadSync("waybill/api/v1/gateway.proto", options)).waybill.api.v1;
}

/** A client of a gateway. Messages may be as large as the gateway's own. */
export function connect(address) {
  const { GatewayService } = contracts();
  const sizes = { "grpc.max_receive_message_length": 32 << 20, "grpc.max_send_message_length": 32 << 20 };
  return new GatewayService(address, grpc.credentials.createInsecure(), sizes);
}

/** JSON as a payload: bytes with a media type. */
export function payload(value) {
  return { media_type: "application/json", data: Buffer.from(JSON.stringify(value)) };
}

/**
 * The messages of a run, whatever breaks on the way: repeated with the same request id the call goes on with the same
 * task, after the last event that was seen. Told by its digest, it is the very event or the history begins anew.
 */
export async function* run(client, spec) {
  const request = { spec, request_id: randomUUID(), from_sequence: "0", after_digest: 0 };
  for (let failures = 0; ; ) {
    const call = client.RunTask(request, metadata());
    try {
      for await (const message of call) {
        failures = 0;
        for (const event of message.events) {
          const isReset = event.type === "EVENT_TYPE_STREAM_RESET";
          request.from_sequence = isReset ? "0" : String(BigInt(event.sequence) + 1n);
          request.after_digest = isReset ? 0 : event.digest;
        }
        yield message;
      }
      return;
    } catch (error) {
      failures += 1;
      if (error.code !== grpc.status.UNAVAILABLE || failures > TRIES_IN_A_ROW) throw error;
      await sleep(PAUSE_MS);
    } finally {
      call.cancel();
    }
  }
}

function metadata() {
  const sent = new grpc.Metadata();
  sent.set("x-waybill-tenant", TENANT);
  return sent;
}

function specOf(what, sources) {
  const documents = sources.map((path) => ({ name: basename(path), data: readFileSync(path) }));
  if (!what.startsWith("@")) return { goal: what, documents };
  const { steps } = JSON.parse(readFileSync(what.slice(1), "utf8"));
  return { plan: { steps: steps.map((step) => ({ ...step, input: payload(step.input ?? {}) })) }, documents };
}

async function main(address, what, ...sources) {
  const client = connect(address);
  let task;
  for await (const message of run(client, specOf(what, sources))) {
    task = message.task ?? task;
    for (const event of message.events) {
      console.error(event.sequence, event.type.replace("EVENT_TYPE_", "").toLowerCase(), event.step);
    }
  }
  client.close();
  const output = task.output ? JSON.parse(task.output.data) : null;
  console.log(typeof output === "string" ? output : JSON.stringify(output, null, 2));
  return task.state === "TASK_STATE_SUCCEEDED" ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await main(...process.argv.slice(2));
  } catch (error) {
    console.error(`${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
    process.exitCode = 2;
  }
}
