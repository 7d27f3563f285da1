/**
 * The entries of a log as they lie in the repository's store, each confirmed before it is given: the hash of its bytes is what the entry
 * after it says, or for the last what the reader of the log knows. What does not fit is read once more, since the reading may
 * have failed and not the bytes, and is then `log_damaged`: a mirror never takes in what is not certain.
 */
import { toHex } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { sha256 } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import { decodeEntry, type Envelope, logKey } from '../log/entry.ts'
import { getOrNothing, readAhead } from '../log/read-ahead.ts'
import type { Listed } from './batches.ts'

/** How far to read: the number of the last entry, and its hash. */
export type Head = Readonly<{ number: number; hash: string }>

type Read = { number: number; bytes: Uint8Array | undefined }

export async function* entriesUpTo(store: BlobStore, after: number, head: Head): AsyncGenerator<Listed> {
  const numbers = Array.from({ length: Math.max(0, head.number - after) }, (_, i) => after + 1 + i)
  let held: Read | undefined
  for await (const { at, bytes } of readAhead(store, numbers.map(logKey))) {
    const next: Read = { number: after + 1 + at, bytes }
    if (held !== undefined) yield await confirmed(store, held, await previousOf(store, next))
    held = next
  }
  if (held !== undefined) yield await confirmed(store, held, head.hash)
}

/** What an entry says that the hash of the one before it is. */
async function previousOf(store: BlobStore, read: Read): Promise<string> {
  for (const bytes of [read.bytes, await getOrNothing(store, logKey(read.number))]) {
    const entry = bytes === undefined ? undefined : decodeEntry(bytes)
    if (entry?.envelope.number === read.number) return entry.envelope.previous
  }
  throw damaged(store, read.number)
}

async function confirmed(store: BlobStore, { number, bytes }: Read, hash: string): Promise<Listed> {
  const found = bytes !== undefined && toHex(sha256(bytes)) === hash ? bytes : await readEntry(store, number, hash)
  const envelope = decodeEntry(found)?.envelope
  if (envelope === undefined) throw damaged(store, number)
  return { envelope, hash }
}

/** The entry's bytes. @throws log_damaged when they are not those of `hash` */
export async function readEntry(store: BlobStore, number: number, hash: string): Promise<Uint8Array> {
  const bytes = await getOrNothing(store, logKey(number))
  if (bytes === undefined || toHex(sha256(bytes)) !== hash) throw damaged(store, number)
  return bytes
}

export function envelopeOf(bytes: Uint8Array): Envelope | undefined {
  return decodeEntry(bytes)?.envelope
}

function damaged(store: BlobStore, number: number): RepositoryError {
  return new RepositoryError('log_damaged', `Entry ${number} of the log in ${store.location} is missing or altered.`, {
    facts: { location: store.location, number },
    retry: 'never',
    hint: 'Nothing after it is mirrored until it is mended; a mirror that has the entry mends it ("holdfast repo mirror --check").',
  })
}
