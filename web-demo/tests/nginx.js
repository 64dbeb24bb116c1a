// A real nginx in front of the gateway, that holds streams back and knows no WebSocket: what many sites have.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { until } from "../client/tests/support/wait.js";

const PROGRAM = "/usr/sbin/nginx";

export async function startNginx(target) {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: make tools`);
  const folder = await mkdtemp(join(tmpdir(), "edgeway-nginx-"));
  const port = await freePort();
  await writeFile(join(folder, "nginx.conf"), configuration(folder, port, target));
  const nginx = spawn(PROGRAM, ["-c", join(folder, "nginx.conf"), "-p", folder, "-e", join(folder, "error.log")], { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  nginx.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const url = `http://127.0.0.1:${port}`;
  await until(async () => {
    if (nginx.exitCode !== null) throw new Error(`nginx did not start: ${errors}`);
    return (await fetch(url).catch(() => null))?.ok;
  }, "nginx serves");
  return {
    url,
    async stop() {
      nginx.kill("SIGTERM");
      await once(nginx, "exit");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const configuration = (folder, port, target) => `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${target};
      proxy_set_header Host $http_host;
      proxy_buffering on;
      proxy_buffers 16 32k;
      proxy_buffer_size 32k;
      proxy_ignore_headers X-Accel-Buffering;
    }
  }
}
`;

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
