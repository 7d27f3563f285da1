/**
 * Where a store is, in the two forms that travel: the text that people write, and a descriptor that another thread or
 * process can open by itself (structured-clone safe). Neither ever holds a secret: S3 credentials come from the
 * environment or the files of the AWS tools, wherever the store is opened.
 *
 *   /srv/backup, ./store, file:///srv/backup                                    a folder
 *   s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1           a bucket; both parameters optional
 *   memory:name                                                                 for tests; one per name and thread
 */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { StoreError } from '../errors.ts'

export type FolderDescriptor = Readonly<{ kind: 'folder'; path: string }>
export type S3Descriptor = Readonly<{
  kind: 's3'
  bucket: string
  /** Empty, or ends with a slash. */
  prefix: string
  /** Absent: AWS itself. */
  endpoint?: string
  region?: string
  /** Profile of the AWS configuration files to take credentials from; absent: the standard order. */
  profile?: string
}>
export type MemoryDescriptor = Readonly<{ kind: 'memory'; name: string }>
export type StoreDescriptor = FolderDescriptor | S3Descriptor | MemoryDescriptor

const S3_PARAMETERS = new Set(['endpoint', 'region', 'profile'])
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
const S3_PREFIX = /^([A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/

/** @throws StoreError `store_location_invalid` */
export function parseStoreLocation(text: string): StoreDescriptor {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase()
  if (text === '') throw invalid('The location of a store is empty.')
  if (scheme === undefined) return { kind: 'folder', path: resolve(text) }
  if (scheme === 'file') return parseFile(text)
  if (scheme === 's3') return parseS3(text)
  if (scheme === 'memory') return { kind: 'memory', name: text.slice('memory:'.length) }
  throw invalid(`There is no kind of store "${scheme}:".`, { scheme }, 'Give a folder, or s3://bucket/prefix.')
}

/** The text form; parses back to the same descriptor. */
export function formatStoreLocation(descriptor: StoreDescriptor): string {
  if (descriptor.kind === 'folder') return descriptor.path
  if (descriptor.kind === 'memory') return `memory:${descriptor.name}`
  const query = [...S3_PARAMETERS]
    .map((name) => [name, descriptor[name as 'endpoint' | 'region' | 'profile']] as const)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]))
    .join('&')
  return `s3://${descriptor.bucket}/${descriptor.prefix}${query === '' ? '' : `?${query}`}`
}

function parseFile(text: string): FolderDescriptor {
  try {
    return { kind: 'folder', path: fileURLToPath(text) }
  } catch (cause) {
    throw invalid(
      'This file: URL does not name a folder of this machine.',
      {},
      'Write file:///path, or the path.',
      cause,
    )
  }
}

function parseS3(text: string): S3Descriptor {
  const url = URL.parse(text)
  if (url === null || !BUCKET.test(url.hostname)) throw invalid('An S3 store is written s3://bucket/prefix.')
  if (url.username !== '' || url.password !== '') {
    throw invalid('Credentials do not belong in a location: it is shown and logged.', {}, CREDENTIALS_HINT)
  }
  const unknown = [...url.searchParams.keys()].find((name) => !S3_PARAMETERS.has(name))
  if (unknown !== undefined) {
    throw invalid(`An S3 location has no parameter "${unknown}".`, { parameter: unknown }, CREDENTIALS_HINT)
  }
  const prefix = url.pathname.replace(/^\//, '').replace(/([^/])$/, '$1/')
  if (!S3_PREFIX.test(prefix)) {
    throw invalid('The prefix of an S3 store is made of letters, digits, "-", "_", "." and "/".', { prefix })
  }
  return { kind: 's3', bucket: url.hostname, prefix, ...s3Parameters(url.searchParams) }
}

function s3Parameters(query: URLSearchParams): Pick<S3Descriptor, 'endpoint' | 'region' | 'profile'> {
  const endpoint = query.get('endpoint')
  const parsed = endpoint === null ? null : URL.parse(endpoint)
  if (endpoint !== null && (parsed === null || !/^https?:$/.test(parsed.protocol) || parsed.password !== '')) {
    throw invalid('The endpoint of an S3 store is an http or https URL without credentials.')
  }
  const given = { endpoint, region: query.get('region'), profile: query.get('profile') }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null && value !== ''))
}

const CREDENTIALS_HINT =
  'Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from ~/.aws/credentials (AWS_PROFILE, profile=...).'

function invalid(message: string, facts = {}, hint?: string, cause?: unknown): StoreError {
  return new StoreError('store_location_invalid', message, { facts, hint, cause })
}
