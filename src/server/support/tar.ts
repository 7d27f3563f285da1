/** An archive in the ustar form (POSIX.1-1988, pax "ustar Interchange Format"): regular files with short names. Pure. */
import { assert } from '#base'

export type TarFile = Readonly<{ name: string; bytes: Uint8Array }>

const BLOCK_BYTES = 512
const NAME_BYTES_MAX = 100

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')}\0`
}

function header({ name, bytes }: TarFile, timeSeconds: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  assert(Buffer.byteLength(name) <= NAME_BYTES_MAX, 'A name in an archive is short')
  block.write(name, 0)
  block.write(`${octal(0o600, 7)}${octal(0, 7)}${octal(0, 7)}${octal(bytes.length, 11)}${octal(timeSeconds, 11)}`, 100)
  block.write('        0', 148) // The checksum counts as blanks; then the type: a file.
  block.write('ustar\x0000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

function padding(length: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (length % BLOCK_BYTES)) % BLOCK_BYTES)
}

export function tarOf(files: readonly TarFile[], timeSeconds: number): Uint8Array[] {
  const parts = files.flatMap((file) => [header(file, timeSeconds), file.bytes, padding(file.bytes.length)])
  return [...parts, Buffer.alloc(2 * BLOCK_BYTES)]
}
