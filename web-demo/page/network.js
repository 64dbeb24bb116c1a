// A network that can be cut and slowed down, between the client and the browser's own: it stands in for `fetch` and
// `WebSocket`.

const gone = () => new TypeError("the network is cut");

export class Network {
  #connections = new Set();
  #delayMs = 0;
  isCut = false;

  /** Everything that is open breaks, and nothing opens; or it is back, and the browser says so. */
  cut(isCut) {
    this.isCut = isCut;
    if (isCut) for (const breakOff of [...this.#connections]) breakOff();
    else window.dispatchEvent(new Event("online"));
  }

  get delayMs() {
    return this.#delayMs;
  }

  /** Each way takes this much longer. */
  set delayMs(ms) {
    this.#delayMs = ms;
  }

  /** @type {typeof fetch} */
  fetch = async (input, init) => {
    const { signal, ...options } = init ?? {};
    if (this.isCut) throw gone();
    const breaker = new AbortController();
    const breakOff = () => breaker.abort(gone());
    const forget = () => this.#connections.delete(breakOff);
    this.#connections.add(breakOff);
    const either = signal ? AbortSignal.any([signal, breaker.signal]) : breaker.signal;
    try {
      await this.#pass();
      const response = await fetch(input, { ...options, signal: either });
      await this.#pass();
      if (!response.body || response.status === 204) return forget(), response;
      const slow = new TransformStream({
        transform: async (chunk, controller) => {
          await this.#pass();
          controller.enqueue(chunk);
        },
        flush: () => void forget(),
      });
      response.body.pipeTo(slow.writable, { signal: either }).catch(forget);
      return new Response(slow.readable, { status: response.status, headers: response.headers });
    } catch (error) {
      forget();
      throw error;
    }
  };

  get WebSocket() {
    const network = this;
    return class {
      #socket = null;
      #isOver = false;
      #order = Promise.resolve();
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;

      constructor(url, protocols) {
        const breakOff = () => this.#over({ code: 1006 });
        if (network.isCut) return void setTimeout(breakOff);
        network.#connections.add(breakOff);
        this.forget = () => network.#connections.delete(breakOff);
        this.#socket = new WebSocket(url, protocols);
        this.#socket.onopen = (event) => this.#later(() => this.onopen?.(event));
        this.#socket.onmessage = (event) => this.#later(() => this.onmessage?.(event));
        this.#socket.onclose = (event) => this.#later(() => this.#over(event));
      }

      get readyState() {
        return this.#isOver ? 3 : (this.#socket?.readyState ?? 0);
      }

      send(data) {
        this.#later(() => this.#socket.readyState === 1 && this.#socket.send(data));
      }

      close() {
        // What was sent before still goes out.
        this.#later(() => this.#socket?.close());
        this.forget?.();
      }

      /** In order, however the delay changes. */
      #later(run) {
        const passed = network.#pass();
        this.#order = this.#order.then(() => passed).then(() => this.#isOver || run());
      }

      #over({ code }) {
        if (this.#isOver) return;
        this.#isOver = true;
        this.forget?.();
        this.#socket?.close();
        this.onclose?.({ code });
      }
    };
  }

  #pass() {
    return this.#delayMs > 0 ? new Promise((resolve) => setTimeout(resolve, this.#delayMs)) : Promise.resolve();
  }
}
