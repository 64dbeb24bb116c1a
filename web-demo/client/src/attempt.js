// One try of a transport, from its opening to its end: as the one that serves, or beside it.

import { openPoll } from "./poll.js";
import { openEventStream } from "./sse.js";
import { openWebSocket } from "./ws.js";

/** @import { End, Host, Link, Timing, TransportName } from "./wire.d.ts" */

/** @type {Record<TransportName, (host: Host, timing: Timing) => Link>} */
const OPEN = { ws: openWebSocket, sse: openEventStream, poll: openPoll };

export class Attempt {
  /** The count of its (last) attach, 0 before the first. */
  attach = 0;
  /** The session that it asked for. @type {string | null} */
  asked = null;
  askedAt = 0;
  frames = 0;
  /** What the server has said already of how it ends. @type {End} */
  farewell = {};
  /** @type {Link | null} */
  #link = null;

  /** @param {TransportName} name */
  constructor(name) {
    this.name = name;
  }

  /** @param {Host} host @param {Timing} timing */
  open(host, timing) {
    this.#link = OPEN[this.name](host, timing);
  }

  /** @param {{ session: string | null, cursor: string | null, attach: number }} saved raises its counter */
  parameters(saved) {
    const { session, cursor } = saved;
    this.attach = saved.attach += 1;
    this.asked = session;
    this.askedAt = Date.now();
    return { ...(session && { session, ...(cursor && { cursor }) }), attach: this.attach };
  }

  /** @param {import("./wire.d.ts").Frame} command */
  send(command) {
    this.#link?.send(command);
  }

  /** @param {boolean} changed */
  check(changed) {
    this.#link?.check(changed);
  }

  close() {
    this.#link?.close();
  }
}
