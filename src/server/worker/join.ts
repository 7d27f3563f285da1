/**
 * A home joins a server elsewhere: makes a key that never leaves it, and has it certified by the join token.
 *
 *   dies after                       what is left            what goes on
 *   the key, before the server       tls/joining.json        joining again with the token uses the same key
 *   the server, before the answer    tls/joining.json        the same: the server knows the key and answers again
 *   the certificate is kept          tls/host.json           the worker dials
 */
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, PROGRAM_VERSION } from '#base'
import { makeFolderDurable, replaceFile, RpcClient, tryProcessLock } from '#runtime'
import { ServerError } from '../errors.ts'
import type { Home } from '../home.ts'
import { type KeyPair, newKeyPair } from '../hosts/host-certificates.ts'
import { DOOR_NAME, JOIN_PROTOCOL } from '../hosts/host-protocol.ts'
import { digestOf, type JoinToken, readJoinToken } from '../hosts/join-token.ts'
import { type Joined, writeJoined } from './joined.ts'

type Joining = KeyPair & Readonly<{ token: string }>

async function keyFor(home: Home, tokenText: string): Promise<KeyPair> {
  const path = joiningPath(home)
  const token = digestOf(tokenText)
  try {
    const begun = JSON.parse(await readFile(path, 'utf8')) as Joining
    if (begun.token === token) return begun
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && !(error instanceof SyntaxError)) throw error
  }
  const made = newKeyPair()
  await makeFolderDurable(join(home.folder, 'tls'))
  await replaceFile(path, [new TextEncoder().encode(JSON.stringify({ ...made, token }))])
  return made
}

function joiningPath(home: Home): string {
  return join(home.folder, 'tls', 'joining.json')
}

async function certified({ host, address, port, authority, secret }: JoinToken, publicKey: string): Promise<string> {
  const dial = { host: address, port, authority, serverName: DOOR_NAME, protocol: JOIN_PROTOCOL }
  const client = await RpcClient.open({ kind: 'named-tls', dial }, 'worker', PROGRAM_VERSION)
  try {
    const { certificate } = (await client.call('host.join', { host, secret, publicKey })) as { certificate: string }
    return certificate
  } finally {
    client.close()
  }
}

function checkHome(home: Home): void {
  const { folder } = home
  if (existsSync(home.catalog))
    throw new ServerError('home_is_server', `The home ${folder} is a server's: a host needs one of its own.`, {
      facts: { home: folder },
      hint: 'Give another --home.',
    })
  const lock = tryProcessLock(home.lock('worker'))
  if (lock === undefined)
    throw new ServerError('home_in_use', `The home ${folder} has a worker already.`, { facts: { home: folder } })
  lock.release()
}

/** @throws ServerError `join_token_invalid`, `join_refused`, `home_is_server`, `home_in_use`; RpcError `rpc_unreachable` */
export async function joinServer(home: Home, tokenText: string): Promise<Joined> {
  const token = readJoinToken(tokenText)
  checkHome(home)
  const { publicKey, privateKey } = await keyFor(home, tokenText.trim())
  const certificate = await certified(token, publicKey)
  const { host, address, port, authority } = token
  const joined = { host, address, port, authority, certificate, privateKey }
  await writeJoined(home, joined)
  await rm(joiningPath(home), { force: true })
  return joined
}
