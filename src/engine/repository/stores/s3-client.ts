/** The S3 client as the store wants it: one try, bounded connections, idle time-outs, quiet; and reading its bodies. */
import { type GetObjectCommandOutput, HeadBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { StoreError } from '../errors.ts'
import { checkSize } from './blob-rules.ts'
import type { S3Descriptor } from './store-location.ts'

const CONNECTIONS_MAX = 16
const CONNECT_TIMEOUT_MS = 10_000
/** Longest silence on a connection, in the body too. Slow is allowed, stuck is not. */
const IDLE_TIMEOUT_MS = 60_000

export type S3Timeouts = Readonly<{ connectMs: number; idleMs: number }>
export const S3_TIMEOUTS: S3Timeouts = { connectMs: CONNECT_TIMEOUT_MS, idleMs: IDLE_TIMEOUT_MS }

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

/** Credentials: the AWS order (environment, configuration files, instance role). Retries are RetryingStore's business. */
export function createS3Client(where: S3Descriptor, timeouts: S3Timeouts): S3Client {
  const agent = { keepAlive: true, maxSockets: CONNECTIONS_MAX }
  return new S3Client({
    maxAttempts: 1,
    logger: silent,
    // Our own seals are checked on every read; a second checksum over every body would only cost time.
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(where.endpoint === undefined
      ? {}
      : { endpoint: where.endpoint, forcePathStyle: true, region: where.region ?? 'us-east-1' }),
    ...(where.region === undefined ? {} : { region: where.region }),
    ...(where.profile === undefined ? {} : { profile: where.profile }),
    requestHandler: {
      connectionTimeout: timeouts.connectMs,
      socketTimeout: timeouts.idleMs,
      httpAgent: agent,
      httpsAgent: agent,
      logger: silent,
    },
  })
}

/** The server's clock, Unix ms, by the Date of an answer (whole seconds); undefined when it states none. */
export async function askServerTime(client: S3Client, bucket: string): Promise<number | undefined> {
  const command = new HeadBucketCommand({ Bucket: bucket })
  let stated: string | undefined
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      stated = (result.response as { headers?: Readonly<Record<string, string>> }).headers?.['date']
      return result
    },
    { step: 'deserialize', name: 'holdfastServerTime' },
  )
  await client.send(command)
  const timeMs = globalThis.Date.parse(stated ?? '')
  return Number.isNaN(timeMs) ? undefined : timeMs
}

/**
 * The body, read into one buffer of the announced length (collecting chunks and joining them costs up to 40 %).
 * @throws StoreError `blob_too_large`; `store_unavailable` when it is longer or shorter than announced: the connection broke
 */
export async function readBody(output: GetObjectCommandOutput, key: string, location: string): Promise<Uint8Array> {
  const expected = output.ContentLength ?? -1
  try {
    checkSize(key, expected, location)
  } catch (error) {
    discardBody(output)
    throw error
  }
  if (output.Body === undefined || expected < 0) {
    throw new StoreError('store_unavailable', `The store announced a body of ${expected} bytes for ${key}.`, {
      facts: { key, contentLength: expected },
    })
  }
  const bytes = new Uint8Array(expected)
  let filled = 0
  for await (const chunk of output.Body as AsyncIterable<Uint8Array>) {
    if (filled + chunk.length > expected) throw bodyBroken(key, filled + chunk.length, expected)
    bytes.set(chunk, filled)
    filled += chunk.length
  }
  if (filled !== expected) throw bodyBroken(key, filled, expected)
  return bytes
}

/** Ends a transfer whose bytes are not wanted; its connection closes. */
export function discardBody(output: GetObjectCommandOutput): void {
  if (output.Body !== undefined && 'destroy' in output.Body) output.Body.destroy()
}

function bodyBroken(key: string, receivedBytes: number, expectedBytes: number): StoreError {
  return new StoreError('store_unavailable', `The transfer of ${key} broke off.`, {
    facts: { key, receivedBytes, expectedBytes },
    retry: 'now',
  })
}
