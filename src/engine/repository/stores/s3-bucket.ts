/**
 * How objects lie in a bucket. There are two ways, because object lock brings versions with it:
 *   plain    one object per key; create-once is the server's If-None-Match (s3-plain-bucket.ts)
 *   locked   a key's oldest version is the object; create-once follows from their order (s3-locked-bucket.ts)
 * Both raise the errors of the S3 client, which S3Store translates.
 */
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'

export type S3Entry = Readonly<{ key: string; sizeBytes: number }>

/** Keys are whole keys of the bucket, the store's prefix included. */
export interface S3Bucket {
  readonly objectLock: boolean
  create(key: string, bytes: Uint8Array): Promise<'created' | 'exists'>
  /** The size in bytes, or undefined when there is no such object. */
  sizeOf(key: string): Promise<number | undefined>
  /** Undefined when there is no such object. @param range an HTTP range, `bytes=0-9` */
  read(key: string, range?: string): Promise<GetObjectCommandOutput | undefined>
  /** One page of objects in ascending order after `from`, and where the next begins (undefined after the last). */
  list(prefix: string, from: S3Page): Promise<Readonly<{ entries: readonly S3Entry[]; next: S3Page | undefined }>>
  /** @throws S3Locked */
  remove(key: string): Promise<void>
  /** Undefined when there is no such object; else it is retained at least until then. Only where `objectLock`. */
  retain(key: string, untilMs: number): Promise<'retained' | undefined>
}

export type S3Page = Readonly<{ after?: string | undefined; token?: string | undefined }>

/** The version is under retention. */
export class S3Locked extends Error {
  readonly untilMs: number

  constructor(untilMs: number, cause: unknown) {
    super('The object is under retention.', { cause })
    this.untilMs = untilMs
  }
}
