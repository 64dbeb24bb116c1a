// Proof of delivery, kept by the page and not by the client library: within a dialog the numbers of messages have no
// holes, so what is missing and what came twice is plain to see.

export class Proof {
  /** By dialog: which numbers have come, from the first on. */
  #dialogs = new Map();
  #ids = new Set();
  received = 0;
  repeated = 0;

  /** A message was handed to the page. */
  message({ message_id: id, dialog_id: dialog, seq }) {
    this.received += 1;
    if (this.#ids.has(id)) this.repeated += 1;
    this.#ids.add(id);
    const known = this.#dialogs.get(dialog) ?? { first: seq, last: seq - 1, missing: new Set() };
    for (let between = known.last + 1; between < seq; between += 1) known.missing.add(between);
    known.missing.delete(seq);
    known.last = Math.max(known.last, seq);
    this.#dialogs.set(dialog, known);
  }

  /** Who was removed from a dialog is owed nothing of what was said until the return. */
  left(dialog) {
    this.#dialogs.delete(dialog);
  }

  get lost() {
    return [...this.#dialogs.values()].reduce((sum, { missing }) => sum + missing.size, 0);
  }
}
