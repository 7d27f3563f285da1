/**
 * Memory that one piece of work uses again and again. What the hot paths read and decode is hundreds of KiB at a time: fresh
 * memory for each costs page faults and whole collections of garbage (measured: docs/decisions, record 13).
 */
export class Scratch {
  #bytes: Uint8Array = new Uint8Array()

  /** At least `lengthBytes`; whatever was there before may be overwritten from now on. */
  room(lengthBytes: number): Uint8Array {
    if (this.#bytes.length < lengthBytes) this.#bytes = new Uint8Array(Buffer.allocUnsafeSlow(lengthBytes).buffer)
    return this.#bytes
  }
}
