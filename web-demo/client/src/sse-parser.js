// Reads `text/event-stream` (WHATWG HTML §9.2.6) as far as the gateway uses it.

/** Longest event that we'd collect. */
const BUFFER_MAX_CHARS = 2 ** 20;

export class SseParser {
  #buffer = "";
  /** @type {string[]} */
  #data = [];
  #onData;

  /** @param {(data: string) => void} onData */
  constructor(onData) {
    this.#onData = onData;
  }

  /** @param {string} text any piece of the stream */
  push(text) {
    this.#buffer += text;
    // A CR at the very end may be the first half of a CRLF: it waits for what follows.
    const lines = this.#buffer.split(/\r\n|\n|\r(?!$)/);
    this.#buffer = lines.pop() ?? "";
    if (this.#buffer.length > BUFFER_MAX_CHARS) throw new Error("an event is too long");
    for (const line of lines) this.#line(line);
  }

  /** @param {string} line */
  #line(line) {
    if (line !== "") {
      // `id` repeats the cursor inside the event, `retry` is for browsers' own clients, comments are padding.
      if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      return;
    }
    if (this.#data.length > 0) this.#onData(this.#data.join("\n"));
    this.#data = [];
  }
}
