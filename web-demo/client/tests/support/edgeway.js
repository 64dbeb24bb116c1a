// A real `edgeway dev`, and what it takes to talk to it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const BINARY = process.env.EDGEWAY_BINARY ?? `${process.env.CARGO_TARGET_DIR ?? `${ROOT}target`}/debug/edgeway`;
const START_MAX_MS = 20_000;

/** @param {{ port?: number, env?: Record<string, string>, db?: string }} [options] */
export async function startEdgeway({ port = 0, env = {}, db } = {}) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: cargo build`);
  const process_ = spawn(BINARY, ["dev", "--listen", `127.0.0.1:${port}`, ...(db ? ["--db", db] : [])], {
    env: { ...process.env, EDGEWAY__ADMIN_LISTEN: "127.0.0.1:0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  process_.stderr.setEncoding("utf8").on("data", (text) => (errors = (errors + text).slice(-4000)));
  const signal = AbortSignal.timeout(START_MAX_MS);
  for await (const [line] of linesOf(process_.stdout, signal)) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
    if (url) return server(process_, url);
  }
  throw new Error(`edgeway did not start:\n${errors}`);
}

async function* linesOf(stream, signal) {
  const lines = createInterface(stream);
  const ended = once(lines, "close").then(() => null);
  for (;;) {
    const line = await Promise.race([once(lines, "line", { signal }), ended]);
    if (!line) return;
    yield line;
  }
}

function server(process_, url) {
  const post = async (path, body, method = "POST") => {
    const response = await fetch(new URL(path, url), { method, body: body && JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? null : response.json();
  };
  return {
    url,
    port: Number(new URL(url).port),
    pid: process_.pid,
    /** A source of tokens, as the client wants it. */
    tokensOf: (user, ttl_s) => async () => (await post("/dev/token", { user_id: user, ttl_s })).token,
    createDialog: (dialog_id, members) => post("/dev/dialogs", { dialog_id, members }),
    remove: (dialog, user) => post(`/dev/dialogs/${dialog}/members/${user}`, undefined, "DELETE"),
    add: (dialog, user) => post(`/dev/dialogs/${dialog}/members/${user}`, undefined, "PUT"),
    post,
    async stop(signal = "SIGKILL") {
      if (process_.exitCode !== null || process_.signalCode !== null) return;
      process_.kill(signal);
      await once(process_, "exit");
    },
  };
}
