/**
 * Objects in an S3 bucket, below a prefix. Beyond the contract:
 *   - `open` with `create` proves that the server honours create-once before a repository relies on it.
 *   - Every unclear end (time-out, broken connection, 5xx, 409 of two conditional PUTs at once) is `store_unavailable`
 *     with `retry: 'now'`. A PUT repeated after one may find the caller's own object: see blob-store.ts, promise 1.
 *   - Where the bucket has object lock, `lock` sets retention in COMPLIANCE mode, and neither newer versions nor delete
 *     markers hide an object (s3-locked-bucket.ts). Deleting then needs s3:DeleteObjectVersion.
 *
 * Limits: on a server that ignores If-None-Match where it keeps versions (Ceph 16), versioning must not be turned on later.
 * Listings must come in byte order of the key (Amazon's general purpose buckets do, its directory buckets do not).
 */
import { GetObjectLockConfigurationCommand, type GetObjectCommandOutput, type S3Client } from '@aws-sdk/client-s3'
import { type Clock, randomUuid } from '#base'
import { systemClock, systemRandom } from '#runtime'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from '../blob-store.ts'
import { StoreError } from '../errors.ts'
import { blobLocked, blobNotFound, checkKey, checkPrefix, checkRange, isKey, lockUnsupported } from './blob-rules.ts'
import { type S3Bucket, S3Locked, type S3Page } from './s3-bucket.ts'
import { askServerTime, createS3Client, discardBody, readBody, S3_TIMEOUTS, type S3Timeouts } from './s3-client.ts'
import { answerOf, s3Error, type S3Use } from './s3-errors.ts'
import { S3LockedBucket } from './s3-locked-bucket.ts'
import { S3PlainBucket } from './s3-plain-bucket.ts'
import { formatStoreLocation, type S3Descriptor } from './store-location.ts'

export type S3StoreOptions = Readonly<{
  /** Before a repository is created here: prove that the server honours create-once. */
  create?: boolean
  clock?: Clock
  timeouts?: S3Timeouts
}>

export class S3Store implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly #client: S3Client
  readonly #bucket: S3Bucket
  readonly #bucketName: string
  readonly #prefix: string

  private constructor(client: S3Client, bucket: S3Bucket, where: S3Descriptor) {
    this.#client = client
    this.#bucket = bucket
    this.#bucketName = where.bucket
    this.#prefix = where.prefix
    this.location = formatStoreLocation(where)
    this.capabilities = { lock: bucket.objectLock ? 'store' : 'none' }
  }

  /** @throws StoreError `store_location_invalid` without such a bucket, `store_unavailable` */
  static async open(where: S3Descriptor, options: S3StoreOptions = {}): Promise<S3Store> {
    const client = createS3Client(where, options.timeouts ?? S3_TIMEOUTS)
    try {
      const bucket = (await hasObjectLock(client, where.bucket))
        ? new S3LockedBucket(client, where.bucket, options.clock ?? systemClock)
        : new S3PlainBucket(client, where.bucket)
      const store = new S3Store(client, bucket, where)
      if (options.create === true) await store.#proveCreateOnce()
      return store
    } catch (cause) {
      client.destroy()
      throw s3Error(cause, 'read', formatStoreLocation(where))
    }
  }

  put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    return this.#call('write', key, (name) => this.#bucket.create(name, Buffer.concat(parts)))
  }

  get(key: BlobKey): Promise<Uint8Array> {
    return this.#call('read', key, async (name) =>
      readBody(this.#present(key, await this.#bucket.read(name)), key, this.location),
    )
  }

  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#call('read', key, async (name) => {
      const askable = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes) && offsetBytes >= 0
      if (!askable || lengthBytes <= 0) return this.#checkAgainstSize(key, offsetBytes, lengthBytes)
      const output = await this.#readRange(name, offsetBytes, lengthBytes)
      if (output === undefined) throw blobNotFound(key, this.location)
      const isWhole = output !== 'unsatisfiable' && output.ContentLength === lengthBytes
      if (isWhole && output.ContentRange?.startsWith(`bytes ${offsetBytes}-`) === true)
        return readBody(output, key, this.location)
      if (output !== 'unsatisfiable') discardBody(output)
      await this.#checkAgainstSize(key, offsetBytes, lengthBytes)
      throw new StoreError('store_unavailable', `${this.location} gave another range of ${key} than was asked for.`, {
        facts: { key, offsetBytes, lengthBytes },
      })
    })
  }

  head(key: BlobKey): Promise<number | undefined> {
    return this.#call('read', key, (name) => this.#bucket.sizeOf(name))
  }

  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    checkPrefix(prefix)
    let last = after
    let from: S3Page | undefined = { after: after && this.#prefix + after }
    while (from !== undefined) {
      const page: Awaited<ReturnType<S3Bucket['list']>> = await this.#listPage(prefix, from)
      for (const entry of page.entries) {
        const key = entry.key.slice(this.#prefix.length)
        if (!isKey(key)) continue // not ours: someone else's object below the prefix
        if ((last !== undefined && key <= last) || entry.sizeBytes < 0) throw this.#listingBroken(key)
        last = key
        yield { key, sizeBytes: entry.sizeBytes }
      }
      from = page.next
      if (from !== undefined && from.token === undefined && from.after === undefined) throw this.#listingBroken('')
    }
  }

  delete(key: BlobKey): Promise<void> {
    return this.#call('write', key, (name) => this.#bucket.remove(name))
  }

  lock(key: BlobKey, untilMs: number): Promise<void> {
    return this.#call('write', key, async (name) => {
      if (this.capabilities.lock === 'none') throw lockUnsupported(this.location)
      this.#present(key, await this.#bucket.retain(name, untilMs))
    })
  }

  timeMs(): Promise<number | undefined> {
    return this.#call('read', undefined, () => askServerTime(this.#client, this.#bucketName))
  }

  async close(): Promise<void> {
    this.#client.destroy()
  }

  async #readRange(
    name: string,
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<GetObjectCommandOutput | 'unsatisfiable' | undefined> {
    try {
      return await this.#bucket.read(name, `bytes=${offsetBytes}-${offsetBytes + lengthBytes - 1}`)
    } catch (error) {
      if (answerOf(error).status === 416) return 'unsatisfiable'
      throw error
    }
  }

  /** For ranges that HTTP cannot ask for, and to tell why one was not given. */
  async #checkAgainstSize(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const sizeBytes = this.#present(key, await this.#bucket.sizeOf(this.#prefix + key))
    checkRange(key, offsetBytes, lengthBytes, sizeBytes)
    return new Uint8Array(0)
  }

  #listPage(prefix: string, from: S3Page): ReturnType<S3Bucket['list']> {
    return this.#call('read', undefined, () => this.#bucket.list(this.#prefix + prefix, from))
  }

  #listingBroken(key: BlobKey): StoreError {
    return new StoreError('store_unavailable', `${this.location} gave a listing that cannot be right.`, {
      facts: { location: this.location, key },
      hint: 'Holdfast needs listings in byte order of the key, as Amazon S3 general purpose buckets give them.',
    })
  }

  #present<T>(key: BlobKey, found: T | undefined): T {
    if (found === undefined) throw blobNotFound(key, this.location)
    return found
  }

  /** Puts one small object twice. The second must be refused, or two writers of the log would overwrite each other. */
  async #proveCreateOnce(): Promise<void> {
    const key = `probe/${randomUuid(systemRandom)}`
    const outcomes = [await this.put(key, [Buffer.from('first')]), await this.put(key, [Buffer.from('second')])]
    await this.delete(key)
    if (outcomes[0] === 'created' && outcomes[1] === 'exists') return
    throw new StoreError('store_location_invalid', `${this.location} replaces objects that it was told not to.`, {
      facts: { location: this.location },
      hint: 'The server must honour PUT with If-None-Match: *. Some do not where versioning is on: use object lock, or no versions.',
    })
  }

  async #call<T>(use: S3Use, key: BlobKey | undefined, work: (name: string) => Promise<T>): Promise<T> {
    if (key !== undefined) checkKey(key)
    try {
      return await work(this.#prefix + (key ?? ''))
    } catch (cause) {
      if (cause instanceof S3Locked) throw blobLocked(key ?? '', this.location, cause.untilMs, cause)
      throw s3Error(cause, use, this.location, key)
    }
  }
}

const NO_LOCK = new Set(['ObjectLockConfigurationNotFoundError', 'NotImplemented', 'MethodNotAllowed'])

/**
 * Whether the bucket has object lock. Who may not ask gets an error and not a guess: to take a bucket with versions for one
 * without could replace objects.
 */
async function hasObjectLock(client: S3Client, bucket: string): Promise<boolean> {
  try {
    const answer = await client.send(new GetObjectLockConfigurationCommand({ Bucket: bucket }))
    return answer.ObjectLockConfiguration?.ObjectLockEnabled === 'Enabled'
  } catch (error) {
    if (NO_LOCK.has(answerOf(error).name)) return false
    throw error
  }
}
