// What npm gets: small, typed, and its README is true.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { startEdgeway } from "./support/edgeway.js";

const run = promisify(execFile);
const HERE = fileURLToPath(new URL("..", import.meta.url));
const SHIPPED_MAX_BYTES = 12 * 1024;
const LINES_MAX = 400;

let project;
let installed;
before(async () => {
  project = await mkdtemp(join(tmpdir(), "edgeway-empty-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", project], { cwd: HERE });
  const [{ filename }] = Object.values(JSON.parse(stdout.slice(stdout.search(/[[{]/))));
  await writeFile(join(project, "package.json"), '{"name":"empty","private":true,"type":"module"}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(project, filename)], { cwd: project });
  installed = join(project, "node_modules", "@edgeway", "client");
});
after(() => rm(project, { recursive: true, force: true }));

async function filesOf(folder, extension) {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => name.endsWith(extension)).map((name) => join(folder, name));
}

test("all JavaScript that is shipped is at most 12 KiB with gzip", async () => {
  const sizes = await Promise.all((await filesOf(installed, ".js")).map(async (file) => gzipSync(await readFile(file), { level: 9 }).length));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(sizes.length > 0 && total <= SHIPPED_MAX_BYTES, `${total} bytes`);
});

test("it depends on nothing", async () => {
  assert.deepEqual(await readdir(join(project, "node_modules", "@edgeway")), ["client"]);
  const { dependencies } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
});

test("the example of its README runs in an empty project", async (t) => {
  const server = await startEdgeway();
  t.after(() => server.stop());
  const readme = await readFile(join(installed, "README.md"), "utf8");
  const [, example] = /```js\n([^]*?)```/.exec(readme);
  await writeFile(join(project, "example.js"), example);
  const { stdout } = await run(process.execPath, ["example.js"], {
    cwd: project,
    env: { ...process.env, EDGEWAY_URL: server.url },
    timeout: 20_000,
  });
  assert.match(stdout, /^connected by (ws|sse)\nann: Kettle is on\.\n$/);
});

test("its types are those of its sources, and hold for a user in strict mode", async () => {
  const program = `
    import { EdgewayClient, EdgewayError, webStorage } from "@edgeway/client";
    const client = new EdgewayClient({ url: "http://x", token: async () => "t", transports: ["sse"] });
    const room = client.subscribe("tea", { presence: true });
    client.on("message_new", ({ message }) => message.seq.toFixed());
    client.on("state", ({ transport }) => transport satisfies "ws" | "sse" | "poll" | null);
    room.on("typing", ({ user_id }) => user_id.length);
    export async function main() {
      const { seq } = await client.send("tea", { text: "x" }, { signal: AbortSignal.timeout(1) });
      for await (const event of room) if (event.type === "receipt") return event.read_seq + seq;
      // @ts-expect-error: there is no such transport
      client.use(["carrier pigeon"]);
      return new EdgewayError("x").retryable ? webStorage("k") : 0;
    }`;
  await writeFile(join(project, "user.ts"), program);
  const tsc = join(HERE, "..", "node_modules", ".bin", "tsc");
  const flags = ["--strict", "--noEmit", "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022", "--lib", "es2023,dom,dom.iterable"];
  await run(tsc, [...flags, "user.ts"], { cwd: project }).catch(({ stdout }) => assert.fail(stdout));
});

test("its sources are files that can be read at one go", async () => {
  for (const file of await filesOf(join(HERE, "src"), ".js")) {
    const lines = (await readFile(file, "utf8")).split("\n").length;
    assert.ok(lines <= LINES_MAX, `${file} has ${lines} lines`);
  }
});
