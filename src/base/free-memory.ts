/**
 * Gives the memory of large byte arrays back at once. The garbage collector does not see their weight: a thread that drops
 * three for every chunk keeps a hundred of them, and every new one is memory that the kernel has to find and clear.
 */

/** Smaller ones may share their memory with others (Node's pool). */
const OWN_MEMORY_BYTES_MIN = 64 * 1024
/** What an owner may have behind its bytes: room that a decompressor asked for. */
const SLACK_BYTES_MAX = 4096

/** `bytes` must be the only view of its memory and is empty afterwards. Small and shared memory is left alone. */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes
  if (!(buffer instanceof ArrayBuffer) || byteLength < OWN_MEMORY_BYTES_MIN) return
  if (buffer.byteLength - byteLength <= SLACK_BYTES_MAX) buffer.transfer(0)
}
