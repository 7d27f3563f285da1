/**
 * What a home keeps that has joined a server elsewhere: `tls/host.json`, the owner's alone. It is replaced as a whole, so that
 * key and certificate always fit together.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, messageOf } from '#base'
import { makeFolderDurable, replaceFile } from '#runtime'
import { ServerError } from '../errors.ts'
import type { Home } from '../home.ts'

export type Joined = Readonly<{
  /** `region/name`. */
  host: string
  /** Where the server is. */
  address: string
  port: number
  /** PEM. */
  authority: string
  certificate: string
  privateKey: string
}>

export function joinedPath(home: Home): string {
  return join(home.folder, 'tls', 'host.json')
}

const FIELDS = ['host', 'address', 'authority', 'certificate', 'privateKey'] as const

/** Undefined: this home has joined no server. @throws ServerError `home_unusable` */
export async function readJoined(home: Home): Promise<Joined | undefined> {
  const path = joinedPath(home)
  try {
    const value = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
    if (FIELDS.every((name) => typeof value[name] === 'string') && typeof value['port'] === 'number')
      return value as unknown as Joined
    throw new TypeError('a field is missing')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw new ServerError('home_unusable', `The file ${path} cannot be read: ${messageOf(error)}.`, {
      facts: { path },
      hint: 'Make a join token with "holdfast host token REGION NAME" on the server, and join again.',
      cause: error,
    })
  }
}

export async function writeJoined(home: Home, joined: Joined): Promise<void> {
  await makeFolderDurable(join(home.folder, 'tls'))
  await replaceFile(joinedPath(home), [new TextEncoder().encode(`${JSON.stringify(joined)}\n`)])
}
