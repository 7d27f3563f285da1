/**
 * What an S3 answer, or the lack of one, means for a store. A request that may have been carried out (time-out, broken
 * connection, 5xx) is `store_unavailable` with `retry: 'now'`: every call of the port can be repeated.
 * Codes: Amazon S3 API Reference, "Error responses"; Ceph RADOS Gateway adds QuotaExceeded.
 */
import { errnoOf, type Facts, messageOf } from '#base'
import { StoreError } from '../errors.ts'

export type S3Use = 'read' | 'write'

type Answer = Readonly<{ name: string; status: number | undefined }>

const CREDENTIALS = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'InvalidToken',
  'CredentialsProviderError',
  'TokenRefreshRequired',
])
const ELSEWHERE = new Set([
  'NoSuchBucket',
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
])
const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'EntityTooLarge'])
const UNREACHABLE = new Set([
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
])

/** The name and HTTP status of an error of the S3 client; an empty name for anything else. */
export function answerOf(cause: unknown): Answer {
  if (!(cause instanceof Error)) return { name: '', status: undefined }
  const metadata = (cause as { $metadata?: { httpStatusCode?: number } }).$metadata
  return { name: cause.name, status: metadata?.httpStatusCode }
}

export function isAbsent(cause: unknown): boolean {
  const { name } = answerOf(cause)
  return name === 'NoSuchKey' || name === 'NoSuchVersion' || name === 'NotFound'
}

/** Translates; what is a StoreError already passes. */
export function s3Error(cause: unknown, use: S3Use, location: string, key?: string): unknown {
  if (cause instanceof StoreError) return cause
  const { name, status } = answerOf(cause)
  const facts = { location, key, answer: name, status, errno: errnoOf(cause) }
  if (ELSEWHERE.has(name) || status === 301 || (status === 404 && name === 'NotFound')) {
    return new StoreError('store_location_invalid', `There is no bucket at ${location}: ${name}.`, {
      facts,
      hint: 'Check the bucket, the endpoint and the region. Holdfast does not create buckets.',
      cause,
    })
  }
  if (messageOf(cause).startsWith('Region is missing')) {
    return new StoreError('store_location_invalid', `The region of ${location} is not known.`, {
      facts,
      hint: 'Add ?region=... to the location, or set AWS_REGION.',
      cause,
    })
  }
  if (FULL.has(name) || status === 507) {
    return new StoreError('store_full', `${location} takes no more: ${name}.`, {
      facts,
      retry: 'later',
      hint: 'Raise the quota, or prune the repository.',
      cause,
    })
  }
  if (CREDENTIALS.has(name) || status === 401) return refusedCredentials(cause, name, location, facts)
  if (name === 'RequestTimeTooSkewed') {
    return new StoreError('store_unavailable', `${location} refuses requests: the clocks differ too much.`, {
      facts,
      retry: 'later',
      hint: 'Set the clock of this machine (NTP).',
      cause,
    })
  }
  if (status === 403) return forbidden(cause, use, location, facts)
  if (status === 501) {
    return new StoreError('store_location_invalid', `${location} does not implement what Holdfast needs.`, {
      facts,
      hint: 'The server must support PUT with If-None-Match (Amazon S3, Ceph RGW and others do).',
      cause,
    })
  }
  return unanswered(cause, location, facts, status)
}

function refusedCredentials(cause: unknown, name: string, location: string, facts: Facts): StoreError {
  const missing = name === 'CredentialsProviderError'
  const message = missing ? `There are no credentials for ${location}.` : `${location} refuses the credentials.`
  return new StoreError('store_unavailable', message, {
    facts,
    retry: 'later',
    hint: 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials (AWS_PROFILE, profile=...).',
    cause,
  })
}

function forbidden(cause: unknown, use: S3Use, location: string, facts: Facts): StoreError {
  if (use === 'write') {
    return new StoreError('store_read_only', `These credentials may not write to ${location}.`, {
      facts,
      retry: 'later',
      hint: 'Allow s3:PutObject and s3:DeleteObject; with object lock s3:DeleteObjectVersion and s3:PutObjectRetention too.',
      cause,
    })
  }
  return new StoreError('store_unavailable', `These credentials may not read ${location}.`, {
    facts,
    retry: 'later',
    hint: 'Allow s3:GetObject, s3:ListBucket and s3:GetBucketObjectLockConfiguration; with object lock s3:GetObjectVersion, s3:ListBucketVersions and s3:GetObjectRetention too.',
    cause,
  })
}

function unanswered(cause: unknown, location: string, facts: Facts, status: number | undefined): StoreError {
  const refused = status !== undefined && status >= 400 && status < 500 && ![408, 409, 429].includes(status)
  const unreachable = UNREACHABLE.has(errnoOf(cause) ?? '')
  return new StoreError('store_unavailable', `${location} did not do what was asked: ${messageOf(cause)}`, {
    facts,
    retry: refused || unreachable ? 'later' : 'now',
    hint: unreachable ? 'Check the endpoint and the network.' : undefined,
    cause,
  })
}
