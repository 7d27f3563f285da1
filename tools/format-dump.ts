/**
 * Annotated hex dumps of a pack, a log entry and a checkpoint, for docs/format. They are made from the golden repository; a test makes
 * them anew and compares them with the documents. `script/node tools/format-dump.ts` prints them.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const GOLDEN = 'test/golden/format-1-draft/repository'
export const DUMPED_PACK = '8fd5f1b5e81a815ec1614b70716cad52d06f2dc900a44dfe476a8cd4534e7877'
export const DUMPED_ENTRY = '000000000012'
export const DUMPED_CHECKPOINT = '000000000008'

/** One field: where it lies, its first bytes in hex, and what it is. */
function line(bytes: Buffer, offset: number, length: number, meaning: string): string {
  const shown = bytes.subarray(offset, offset + Math.min(length, 16)).toString('hex')
  const hex = `${shown.replaceAll(/(..)(?=.)/g, '$1 ')}${length > 16 ? ' ..' : ''}`
  return `${String(offset).padStart(6)} ${String(length).padStart(6)}  ${hex.padEnd(50)} ${meaning}`
}

const HEADING = 'offset  width  bytes                                              meaning'

/** The fields of a pack that lie open, and where the sealed ones begin. */
export function dumpPack(bytes: Buffer): string {
  const end = bytes.length
  const tableOffset = Number(bytes.readBigUInt64LE(end - 32))
  const tableBytes = bytes.readUInt32LE(end - 24)
  const chunks = bytes.readUInt32LE(end - 20)
  return [
    HEADING,
    line(bytes, 0, 8, `magic "${bytes.toString('latin1', 0, 8)}"`),
    line(bytes, 8, 16, 'repository id'),
    line(bytes, 24, 32, 'salt of the pack'),
    line(bytes, 56, 8, `session: entry ${bytes.readBigUInt64LE(56)} of the log`),
    line(bytes, 64, 32, 'zeros'),
    line(bytes, 96, tableOffset - 96, `${chunks} sealed chunks, each with its tag`),
    line(bytes, tableOffset, tableBytes, `sealed table: ${chunks} x 48 + tag 16`),
    line(bytes, end - 64, 32, 'salt again'),
    line(bytes, end - 32, 8, `table offset ${tableOffset}`),
    line(bytes, end - 24, 4, `table bytes ${tableBytes}`),
    line(bytes, end - 20, 4, `chunks ${chunks}`),
    line(bytes, end - 16, 8, 'zeros'),
    line(bytes, end - 8, 8, `magic "${bytes.toString('latin1', end - 8)}"`),
  ].join('\n')
}

/** The fields of a log entry or a checkpoint, its open part as the JSON that it is. */
export function dumpEntry(bytes: Buffer): string {
  const [envelopeBytes, bodyBytes] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)]
  const envelope = bytes.toString('utf8', 16, 16 + envelopeBytes)
  const wrapped = envelope.match(/.{1,100}/g) ?? []
  return [
    HEADING,
    line(bytes, 0, 8, `magic "${bytes.toString('latin1', 0, 8)}"`),
    line(bytes, 8, 4, `open bytes ${envelopeBytes}`),
    line(bytes, 12, 4, `body bytes ${bodyBytes}`),
    line(bytes, 16, envelopeBytes, 'open part, JSON:'),
    ...wrapped.map((part) => `                ${part}`),
    ...(bodyBytes === 0 ? [] : [line(bytes, 16 + envelopeBytes, bodyBytes, 'sealed body with its tag')]),
    line(bytes, 16 + envelopeBytes + bodyBytes, 32, 'MAC'),
  ].join('\n')
}

export function dumpGoldenCheckpoint(): string {
  return dumpEntry(readFileSync(join(GOLDEN, 'checkpoints', DUMPED_CHECKPOINT)))
}

export function dumpGoldenPack(): string {
  return dumpPack(readFileSync(join(GOLDEN, 'packs', DUMPED_PACK.slice(0, 2), DUMPED_PACK)))
}

export function dumpGoldenEntry(): string {
  return dumpEntry(readFileSync(join(GOLDEN, 'log', DUMPED_ENTRY)))
}

if (import.meta.main) process.stdout.write(`${dumpGoldenPack()}\n\n${dumpGoldenEntry()}\n\n${dumpGoldenCheckpoint()}\n`)
