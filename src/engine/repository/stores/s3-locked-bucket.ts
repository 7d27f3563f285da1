/**
 * A bucket with object lock. It keeps versions, and the object of a key is its OLDEST version:
 *   - Whoever holds the credentials can add newer versions and delete markers; neither changes or hides the object.
 *   - create: PUT a version (If-None-Match: * where the server honours it on versions; Ceph 16 does not), then list the
 *     key's versions. The oldest is ours: created. Another's: ours is deleted again, exists. Servers order the versions of
 *     a key when they are stored, so of many writers exactly one finds its own to be the oldest.
 *     A crash in between leaves a newer version, which nobody reads and `remove` takes away.
 *   - retention is COMPLIANCE: nobody can shorten it, the owner of the bucket included. It is set on the oldest version.
 *   - remove deletes every version, the oldest last, so that no newer one ever becomes the object.
 *
 * The oldest version of a key never changes while it exists, so its id is remembered: one listing per object, not per read.
 */
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  GetObjectRetentionCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import type { Clock } from '#base'
import { type S3Bucket, type S3Entry, S3Locked, type S3Page } from './s3-bucket.ts'
import { answerOf, isAbsent } from './s3-errors.ts'

type Version = Readonly<{ key: string; id: string; sizeBytes: number; isMarker: boolean }>
type VersionPage = Readonly<{ versions: readonly Version[]; next: VersionMarker | undefined }>
type VersionMarker = Readonly<{ KeyMarker: string; VersionIdMarker?: string }>

/** About 30 MB; beyond it ids are asked for again. */
const REMEMBERED_MAX = 200_000
/** Others that extend the lock of one object in the same moment; a store that still refuses has another reason. */
const RETAIN_TRIES_MAX = 8

export class S3LockedBucket implements S3Bucket {
  readonly objectLock = true
  readonly #client: S3Client
  readonly #bucket: string
  readonly #clock: Clock
  readonly #oldest = new Map<string, Version>()

  constructor(client: S3Client, bucket: string, clock: Clock) {
    this.#client = client
    this.#bucket = bucket
    this.#clock = clock
  }

  async create(key: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
    const mine = await this.#putVersion(key, bytes)
    if (mine === undefined) return 'exists'
    const oldest = (await this.#dataVersionsOf(key)).at(-1)
    if (oldest?.id === mine) return 'created'
    // A bucket with a default retention keeps it. Nobody reads it.
    await this.#client
      .send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key, VersionId: mine }))
      .catch((error: unknown) => {
        if (answerOf(error).status !== 403) throw error
      })
    return 'exists'
  }

  async sizeOf(key: string): Promise<number | undefined> {
    return (await this.#dataVersionsOf(key)).at(-1)?.sizeBytes
  }

  async read(key: string, range?: string): Promise<GetObjectCommandOutput | undefined> {
    const remembered = this.#oldest.get(key)
    const found = remembered && (await this.#readVersion(key, remembered.id, range))
    if (found !== undefined) return found
    const oldest = (await this.#dataVersionsOf(key)).at(-1)
    if (oldest === undefined) return undefined
    this.#remember(oldest)
    return this.#readVersion(key, oldest.id, range)
  }

  /** A page of keys: pages of versions until one key is known to be complete. */
  async list(prefix: string, from: S3Page): Promise<{ entries: S3Entry[]; next: S3Page | undefined }> {
    const versions: Version[] = []
    let next: VersionMarker | undefined = from.after === undefined ? undefined : { KeyMarker: from.after }
    do {
      const page = await this.#page(prefix, next)
      versions.push(...page.versions)
      next = page.next
    } while (next !== undefined && versions.at(-1)?.key === versions[0]?.key)
    // The versions of the last key may go on in the next page: it is left to the next call.
    const unfinished = next === undefined ? undefined : versions.at(-1)?.key
    const complete = versions.filter(({ key }) => key !== unfinished && (from.after === undefined || key > from.after))
    const oldest = new Map(complete.filter((version) => !version.isMarker).map((version) => [version.key, version]))
    for (const version of oldest.values()) this.#remember(version)
    const after = versions.findLast(({ key }) => key !== unfinished)?.key ?? from.after
    return { entries: [...oldest.values()], next: unfinished === undefined ? undefined : { after } }
  }

  async remove(key: string): Promise<void> {
    this.#oldest.delete(key)
    const versions = await this.#versionsOf(key)
    const object = versions.findLast((version) => !version.isMarker)
    if (object !== undefined) await this.#assertNotRetained(object)
    for (const version of versions.filter((version) => version !== object)) await this.#removeVersion(version)
    if (object !== undefined) await this.#removeVersion(object)
  }

  /** Several at once: a server refuses a shorter lock than another has just set (403), or both changes (409, 5xx). */
  async retain(key: string, untilMs: number): Promise<'retained' | undefined> {
    const object = (await this.#dataVersionsOf(key)).at(-1)
    if (object === undefined) return undefined
    let retainedMs = await this.#retainedUntilMs(object)
    for (let tries = 1; retainedMs === undefined || retainedMs < untilMs; tries += 1) {
      const refusal = await this.#extend(object, untilMs)
      if (refusal === undefined) return 'retained'
      const nowMs = await this.#retainedUntilMs(object)
      const isRace = nowMs !== retainedMs || answerOf(refusal).status !== 403
      if (!isRace || tries >= RETAIN_TRIES_MAX) throw refusal
      retainedMs = nowMs
    }
    return 'retained'
  }

  async #extend(object: Version, untilMs: number): Promise<unknown> {
    // eslint-disable-next-line no-restricted-globals -- the client wants a Date of a given instant; no clock is read
    const RetainUntilDate = new Date(Math.ceil(untilMs / 1000) * 1000) // S3 stores whole seconds
    const Retention = { Mode: 'COMPLIANCE' as const, RetainUntilDate }
    try {
      await this.#client.send(new PutObjectRetentionCommand({ ...this.#named(object), Retention }))
      return undefined
    } catch (error) {
      return error
    }
  }

  /** The id of the new version, or undefined when the server says that the key exists. */
  async #putVersion(key: string, bytes: Uint8Array): Promise<string | undefined> {
    try {
      const where = { Bucket: this.#bucket, Key: key }
      const { VersionId } = await this.#client.send(new PutObjectCommand({ ...where, Body: bytes, IfNoneMatch: '*' }))
      if (VersionId === undefined) throw new Error('The bucket has object lock but named no version.')
      return VersionId
    } catch (error) {
      if (answerOf(error).status === 412) return undefined
      throw error
    }
  }

  async #readVersion(key: string, version: string, range?: string): Promise<GetObjectCommandOutput | undefined> {
    const Range = range === undefined ? {} : { Range: range }
    try {
      const where = { Bucket: this.#bucket, Key: key, VersionId: version }
      return await this.#client.send(new GetObjectCommand({ ...where, ...Range }))
    } catch (error) {
      if (!isAbsent(error)) throw error
      this.#oldest.delete(key)
      return undefined
    }
  }

  async #removeVersion(version: Version): Promise<void> {
    try {
      await this.#client.send(new DeleteObjectCommand(this.#named(version)))
    } catch (error) {
      if (isAbsent(error)) return
      if (answerOf(error).status === 403 && !version.isMarker) await this.#assertNotRetained(version, error)
      throw error
    }
  }

  async #assertNotRetained(version: Version, cause?: unknown): Promise<void> {
    const untilMs = await this.#retainedUntilMs(version)
    if (untilMs !== undefined && untilMs > this.#clock.nowMs()) throw new S3Locked(untilMs, cause)
  }

  async #retainedUntilMs(version: Version): Promise<number | undefined> {
    try {
      const answer = await this.#client.send(new GetObjectRetentionCommand(this.#named(version)))
      return answer.Retention?.RetainUntilDate?.getTime()
    } catch (error) {
      // Ceph says ObjectLockConfigurationNotFoundError of an object without retention, Amazon NoSuchObjectLockConfiguration.
      if (/^(NoSuchObjectLockConfiguration|ObjectLockConfigurationNotFoundError)$/.test(answerOf(error).name))
        return undefined
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  async #dataVersionsOf(key: string): Promise<Version[]> {
    return (await this.#versionsOf(key)).filter((version) => !version.isMarker)
  }

  /** All versions of exactly this key, newest first. Keys that merely begin with it come after all of its versions. */
  async #versionsOf(key: string): Promise<Version[]> {
    const versions: Version[] = []
    let marker: VersionMarker | undefined
    do {
      const page = await this.#page(key, marker)
      versions.push(...page.versions.filter((version) => version.key === key))
      marker = page.next?.KeyMarker === key ? page.next : undefined
    } while (marker !== undefined)
    return versions
  }

  async #page(prefix: string, marker: VersionMarker | undefined): Promise<VersionPage> {
    const page = await this.#client.send(
      new ListObjectVersionsCommand({ Bucket: this.#bucket, Prefix: prefix, ...marker }),
    )
    const data = (page.Versions ?? []).map((entry) => versionOf(entry, false))
    const markers = (page.DeleteMarkers ?? []).map((entry) => versionOf(entry, true))
    if (page.IsTruncated === true && page.NextKeyMarker === undefined) {
      throw new Error('A page of versions did not name the next.')
    }
    const next =
      page.IsTruncated === true
        ? {
            KeyMarker: page.NextKeyMarker ?? '',
            ...(page.NextVersionIdMarker && { VersionIdMarker: page.NextVersionIdMarker }),
          }
        : undefined
    // Stable: versions of one key stay newest first. Where markers stand among them does not matter here.
    return { versions: [...data, ...markers].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)), next }
  }

  #named(version: Version): { Bucket: string; Key: string; VersionId: string } {
    return { Bucket: this.#bucket, Key: version.key, VersionId: version.id }
  }

  #remember(version: Version): void {
    if (this.#oldest.size >= REMEMBERED_MAX) this.#oldest.clear()
    this.#oldest.set(version.key, version)
  }
}

type ListedVersion = Readonly<{ Key?: string | undefined; VersionId?: string | undefined; Size?: number | undefined }>

function versionOf(entry: ListedVersion, isMarker: boolean): Version {
  return { key: entry.Key ?? '', id: entry.VersionId ?? 'null', sizeBytes: entry.Size ?? 0, isMarker }
}
