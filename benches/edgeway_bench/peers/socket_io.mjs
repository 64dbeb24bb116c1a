// Socket.IO, as its manual sets it up: a room for each dialog, events posted by HTTP.
import { createServer } from "node:http";
import { Server } from "socket.io";

const room = (query) => `of_${query ?? ""}`;

const http = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const { searchParams } = new URL(request.url, "http://peer");
  io.to(room(searchParams.get("dialogs"))).emit("event", JSON.parse(body));
  response.writeHead(200, { "Content-Length": 0 }).end();
});
// Whoever posts events may wait for its turn longer than the 5 s that an idle connection is kept for.
http.keepAliveTimeout = 0;
const io = new Server(http, { transports: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, serveClient: false });
io.on("connection", (socket) => {
  socket.join(room(socket.handshake.query.dialogs));
  socket.emit("event", { type: "welcome" });
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 8192 }, () => console.log(`ready 127.0.0.1:${http.address().port}`));
