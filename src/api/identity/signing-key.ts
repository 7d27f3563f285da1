/**
 * The key that signs access tokens: RSA 2048, made once, kept over restarts in one file (mode 0600), so that a token outlives
 * the server that gave it. Changing it: remove the file and start again; clients log in anew.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { calculateJwkThumbprint, type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { errnoOf } from '#base'
import { createFileOnce } from '#runtime'

export type SigningKey = Readonly<{ id: string; privateKey: CryptoKey; publicKey: CryptoKey; publicJwk: JWK }>

const ALGORITHM = 'RS256'

async function readKey(path: string): Promise<JWK | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as JWK
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function makeKey(path: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true })
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await createFileOnce(path, [new TextEncoder().encode(JSON.stringify(await exportJWK(privateKey)))])
  // Another process may have been first: what the file says counts.
  return (await readKey(path)) as JWK
}

/** Opens the key of the file, or makes it. */
export async function openSigningKey(path: string): Promise<SigningKey> {
  const jwk = (await readKey(path)) ?? (await makeKey(path))
  const { kty, n, e } = jwk
  const publicJwk: JWK = { kty, n, e, use: 'sig', alg: ALGORITHM } as JWK
  const id = await calculateJwkThumbprint(publicJwk)
  const privateKey = (await importJWK(jwk, ALGORITHM)) as CryptoKey
  const publicKey = (await importJWK(publicJwk, ALGORITHM)) as CryptoKey
  return { id, privateKey, publicKey, publicJwk: { ...publicJwk, kid: id, x5t: id } }
}
