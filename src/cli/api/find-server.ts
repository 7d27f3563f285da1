/**
 * Which server the commands over the API talk to, and as whom:
 *
 *   --home FOLDER          what the server of that home wrote to run/face.json
 *   HOLDFAST_ENDPOINT      with HOLDFAST_CLIENT_ID and HOLDFAST_CLIENT_SECRET_FILE; HOLDFAST_CA_FILE unless the system trusts
 *                          it; HOLDFAST_SUBSCRIPTION_ID unless there is only one
 *   else                   as --home, of the usual home
 *
 * A secret is only ever read from a file.
 */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { errnoOf, messageOf } from '#base'
import { type Environment, recordPath, usualHome } from '#runtime'
import type { FaceRecord } from '#server'
import { CliError } from '../errors.ts'

export type ServerAddress = Readonly<{
  /** Without a slash at its end. */
  endpoint: string
  /** PEM; undefined: what the system trusts. */
  ca: string | undefined
  clientId: string
  clientSecretFile: string
  /** Undefined: the only one that there is. */
  subscriptionId: string | undefined
}>

async function readNamedFile(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const message = `The ${what} ${path} cannot be read: ${messageOf(cause)}`
    throw new CliError('key_file_unreadable', message, {
      facts: { path },
      hint: 'Check the path and that this user may read it.',
      cause,
    })
  }
}

function needed(environment: Environment, name: string): string {
  const value = environment[name]
  if (value !== undefined && value !== '') return value
  throw new CliError('usage_invalid', `With HOLDFAST_ENDPOINT, ${name} must be set.`, {
    hint: 'HOLDFAST_CLIENT_ID and HOLDFAST_CLIENT_SECRET_FILE say as whom to ask.',
  })
}

function checkedEndpoint(text: string): string {
  const url = URL.parse(text)
  if (url?.protocol === 'https:' && url.pathname === '/' && url.search === '') return url.origin
  throw new CliError('usage_invalid', `HOLDFAST_ENDPOINT must be like https://host:8443, not "${text}".`)
}

async function ofEnvironment(environment: Environment, endpoint: string): Promise<ServerAddress> {
  const { HOLDFAST_CA_FILE: caFile = '', HOLDFAST_SUBSCRIPTION_ID: subscriptionId = '' } = environment
  return {
    endpoint: checkedEndpoint(endpoint),
    ca: caFile === '' ? undefined : await readNamedFile(caFile, 'certificate'),
    clientId: needed(environment, 'HOLDFAST_CLIENT_ID'),
    clientSecretFile: needed(environment, 'HOLDFAST_CLIENT_SECRET_FILE'),
    subscriptionId: subscriptionId === '' ? undefined : subscriptionId,
  }
}

async function ofHome(home: string | undefined, environment: Environment): Promise<ServerAddress> {
  const folder = resolve(home ?? usualHome(environment, process.getuid?.() === 0))
  const path = recordPath(folder, 'face')
  const face = await readFile(path, 'utf8').then(
    (text) => JSON.parse(text) as FaceRecord,
    (cause: unknown) => {
      if (errnoOf(cause) !== 'ENOENT' && !(cause instanceof SyntaxError)) throw cause
      throw new CliError('api_unreachable', `No server has run in the home ${folder}.`, {
        facts: { home: folder },
        retry: 'later',
        hint: 'Start one with "holdfast serve"; check --home and HOLDFAST_HOME. Of a server elsewhere: HOLDFAST_ENDPOINT.',
        cause,
      })
    },
  )
  const { endpoint, caFile, subscriptionId } = face
  // Somebody else than the administrator may use this home's server with a client of their own.
  const { HOLDFAST_CLIENT_ID: clientId = '' } = environment
  const client =
    clientId === ''
      ? { clientId: face.clientId, clientSecretFile: face.clientSecretFile }
      : { clientId, clientSecretFile: needed(environment, 'HOLDFAST_CLIENT_SECRET_FILE') }
  return {
    endpoint: endpoint.replace(/\/$/, ''),
    ca: await readNamedFile(caFile, 'certificate'),
    ...client,
    subscriptionId,
  }
}

/** @throws CliError `usage_invalid`, `key_file_unreadable`, `api_unreachable` */
export function findServer(home: string | undefined, environment: Environment): Promise<ServerAddress> {
  const { HOLDFAST_ENDPOINT: endpoint = '' } = environment
  return home === undefined && endpoint !== '' ? ofEnvironment(environment, endpoint) : ofHome(home, environment)
}

/** The secret itself, read when it is needed. @throws CliError `key_file_unreadable` */
export async function readClientSecret({ clientSecretFile }: ServerAddress): Promise<string> {
  return (await readNamedFile(clientSecretFile, 'file of the client secret')).trim()
}
