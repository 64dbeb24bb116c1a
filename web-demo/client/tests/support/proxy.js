// Something in between: a proxy that blocks, swallows, holds back, delays and cuts.

import { once } from "node:events";
import http from "node:http";
import net from "node:net";

/**
 * What it does is set by fields, at any time:
 *   `ws`:  "pass", "refuse" (403), "swallow" (the upgrade passes, no frame comes back), "hang" (no answer)
 *   `sse`: "pass", "hold" (nothing passes until the stream ends)
 *   `isCut`: nothing gets through; `cut()` also ends what is open
 */
export async function startProxy(target) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  const proxy = { ws: "pass", sse: "pass", isCut: false, requests: [], url: "", cut, restore, close };
  const server = http.createServer((request, response) => {
    proxy.requests.push(`${request.method} ${request.url.split("?")[0]}`);
    if (proxy.isCut) return request.socket.destroy();
    const upstream = http.request({ hostname, port: proxy.port ?? port, path: request.url, method: request.method, headers: request.headers });
    upstream.on("response", (answer) => {
      const isHeld = proxy.sse === "hold" && request.url.startsWith("/v1/sse");
      if (!isHeld) {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        return answer.pipe(response);
      }
      const held = [];
      answer.on("data", (chunk) => held.push(chunk));
      answer.on("end", () => response.writeHead(answer.statusCode, answer.headers).end(Buffer.concat(held)));
    });
    upstream.on("error", () => request.socket.destroy());
    response.on("close", () => upstream.destroy());
    request.pipe(upstream);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    if (proxy.isCut) socket.destroy();
  });
  server.on("upgrade", (request, socket, head) => {
    proxy.requests.push(`UPGRADE ${request.url.split("?")[0]}`);
    if (proxy.isCut) return socket.destroy();
    if (proxy.ws === "hang") return;
    if (proxy.ws === "refuse") return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    const upstream = net.connect(proxy.port ?? port, hostname);
    const lines = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`);
    upstream.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
    upstream.write(head);
    socket.pipe(upstream);
    if (proxy.ws === "swallow") {
      let hasAnswered = false;
      upstream.on("data", (chunk) => {
        const end = chunk.indexOf("\r\n\r\n");
        if (!hasAnswered && end > 0) socket.write(chunk.subarray(0, end + 4));
        hasAnswered = true;
      });
    } else {
      upstream.pipe(socket);
    }
    for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
      one.on("error", () => {}).on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  return proxy;

  function cut() {
    proxy.isCut = true;
    for (const socket of sockets) socket.destroy();
  }
  function restore() {
    proxy.isCut = false;
  }
  async function close() {
    cut();
    server.close();
    await once(server, "close");
  }
}
