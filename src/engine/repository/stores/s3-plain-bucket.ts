/**
 * A bucket without object lock: one PUT with If-None-Match: * creates an object, 412 says that it exists. Never multipart:
 * some servers ignore the condition on its completion and replace.
 */
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import type { S3Bucket, S3Entry, S3Page } from './s3-bucket.ts'
import { answerOf, isAbsent } from './s3-errors.ts'

export class S3PlainBucket implements S3Bucket {
  readonly objectLock = false
  readonly #client: S3Client
  readonly #bucket: string

  constructor(client: S3Client, bucket: string) {
    this.#client = client
    this.#bucket = bucket
  }

  async create(key: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
    try {
      const where = { Bucket: this.#bucket, Key: key }
      await this.#client.send(new PutObjectCommand({ ...where, Body: bytes, IfNoneMatch: '*' }))
      return 'created'
    } catch (error) {
      if (answerOf(error).status === 412) return 'exists'
      throw error
    }
  }

  async sizeOf(key: string): Promise<number | undefined> {
    try {
      return (await this.#client.send(new HeadObjectCommand({ Bucket: this.#bucket, Key: key }))).ContentLength
    } catch (error) {
      if (answerOf(error).status !== 404) throw error
      // An answer to HEAD has no body to say what is missing, the object or the bucket: this one fails for the latter.
      await this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket }))
      return undefined
    }
  }

  async read(key: string, range?: string): Promise<GetObjectCommandOutput | undefined> {
    try {
      const Range = range === undefined ? {} : { Range: range }
      return await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key, ...Range }))
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  async list(prefix: string, from: S3Page): Promise<{ entries: S3Entry[]; next: S3Page | undefined }> {
    const start = from.token === undefined ? { StartAfter: from.after } : { ContinuationToken: from.token }
    const page = await this.#client.send(new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, ...start }))
    const entries = (page.Contents ?? []).map(({ Key = '', Size = -1 }) => ({ key: Key, sizeBytes: Size }))
    return { entries, next: page.IsTruncated === true ? { token: page.NextContinuationToken } : undefined }
  }

  async remove(key: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key }))
  }

  async retain(): Promise<undefined> {
    return undefined
  }
}
