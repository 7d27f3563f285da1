/**
 * The work of tools/limit.ts, as a program of its own so that it is measured like the others:
 *   limit-work.ts seal IMAGE               reads, hashes, compresses, encrypts; writes nothing
 *   limit-work.ts lay-down IMAGE SEALED    the same, and keeps the chunks in SEALED (and SEALED.json), for `open`
 *   limit-work.ts open SEALED IMAGE        decrypts, decompresses, hashes, writes
 * Two threads take chunks from one shared counter. Keys and nonces are constants: nothing here protects anything.
 */
import { createCipheriv, createDecipheriv, hash } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { KIB } from '#base'
import { dataRuns } from '../data.ts'

type Mode = 'seal' | 'lay-down' | 'open'
type Chunk = { offset: number; length: number; sealedAt: number; sealedLength: number }
type Job = Readonly<{ mode: Mode; from: string; to: string; chunks: readonly Chunk[]; counters: SharedArrayBuffer }>

const THREADS = 2
const CHUNK_BYTES = 256 * KIB
const KEY = Buffer.alloc(32, 7)
const NONCE = Buffer.alloc(12, 9)
const TAG_BYTES = 16
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

function seal(plain: Uint8Array): Buffer {
  hash('sha256', plain, 'buffer')
  const packed = zstdCompressSync(plain, LEVEL)
  const cipher = createCipheriv('aes-256-gcm', KEY, NONCE)
  return Buffer.concat([cipher.update(packed), cipher.final(), cipher.getAuthTag()])
}

function unseal(sealed: Uint8Array): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', KEY, NONCE)
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  const packed = Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()])
  const plain = zstdDecompressSync(packed)
  hash('sha256', plain, 'buffer')
  return plain
}

/** One thread: takes the next chunk until there is none. Gives the chunks that it sealed, with their places. */
function work({ mode, from, to, chunks, counters }: Job): Chunk[] {
  const [next, end] = [new Int32Array(counters, 0, 1), new BigInt64Array(counters, 8, 1)]
  const input = openSync(from, 'r')
  const output = mode === 'seal' ? undefined : openSync(to, 'r+')
  const buffer = Buffer.alloc(2 * CHUNK_BYTES)
  const done: Chunk[] = []
  for (let i = Atomics.add(next, 0, 1); i < chunks.length; i = Atomics.add(next, 0, 1)) {
    const chunk = chunks[i]
    if (chunk === undefined) break
    if (mode === 'open') {
      readSync(input, buffer, 0, chunk.sealedLength, chunk.sealedAt)
      const plain = unseal(buffer.subarray(0, chunk.sealedLength))
      if (output !== undefined) writeSync(output, plain, 0, plain.length, chunk.offset)
      continue
    }
    readSync(input, buffer, 0, chunk.length, chunk.offset)
    const sealed = seal(buffer.subarray(0, chunk.length))
    if (output === undefined) continue
    const sealedAt = Number(Atomics.add(end, 0, BigInt(sealed.length)))
    writeSync(output, sealed, 0, sealed.length, sealedAt)
    done.push({ ...chunk, sealedAt, sealedLength: sealed.length })
  }
  closeSync(input)
  if (output !== undefined) closeSync(output)
  return done
}

async function inThreads(job: Omit<Job, 'counters'>): Promise<Chunk[]> {
  const counters = new SharedArrayBuffer(16)
  const threads = Array.from({ length: THREADS }, () => {
    const worker = new Worker(import.meta.filename, { workerData: { ...job, counters } })
    return new Promise<Chunk[]>((resolve, reject) => void worker.once('message', resolve).once('error', reject))
  })
  return (await Promise.all(threads)).flat()
}

async function chunksOf(image: string): Promise<Chunk[]> {
  return (await dataRuns(image)).flatMap(({ start, length }) =>
    Array.from({ length: Math.ceil(length / CHUNK_BYTES) }, (_, i) => ({
      offset: start + i * CHUNK_BYTES,
      length: Math.min(CHUNK_BYTES, length - i * CHUNK_BYTES),
      sealedAt: 0,
      sealedLength: 0,
    })),
  )
}

type Sealed = Readonly<{ sizeBytes: number; chunks: readonly Chunk[] }>

async function main([mode, from = '', to = '']: readonly string[]): Promise<void> {
  if (mode === 'open') {
    const { sizeBytes, chunks } = JSON.parse(readFileSync(`${from}.json`, 'utf8')) as Sealed
    const file = openSync(to, 'w')
    ftruncateSync(file, sizeBytes)
    closeSync(file)
    await inThreads({ mode, from, to, chunks })
    return
  }
  const chunks = await chunksOf(from)
  if (mode === 'seal') return void (await inThreads({ mode, from, to, chunks }))
  if (mode !== 'lay-down') throw new Error(`No such mode: ${mode}`)
  writeFileSync(to, '')
  const sealed = await inThreads({ mode, from, to, chunks })
  sealed.sort((a, b) => a.offset - b.offset)
  writeFileSync(`${to}.json`, JSON.stringify({ sizeBytes: statSync(from).size, chunks: sealed }))
}

if (isMainThread) await main(process.argv.slice(2))
else {
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
  parentPort?.postMessage(work(workerData as Job))
}
