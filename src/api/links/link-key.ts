/** The key that signs what this server says to linked ones: Ed25519, made once, kept in one file (mode 0600). */
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { createFileOnce, makeFolderDurable } from '#runtime'

export const LINK_ALGORITHM = 'EdDSA'

export type LinkKey = Readonly<{ privateKey: CryptoKey; /** JSON Web Key. */ publicKey: string }>

export async function openLinkKey(path: string): Promise<LinkKey> {
  await makeFolderDurable(dirname(path))
  const { privateKey } = await generateKeyPair(LINK_ALGORITHM, { extractable: true })
  // The one that is there stays, whoever made it.
  await createFileOnce(path, [new TextEncoder().encode(JSON.stringify(await exportJWK(privateKey)))])
  const jwk = JSON.parse(await readFile(path, 'utf8')) as JWK
  const { kty, crv, x } = jwk
  const publicKey = JSON.stringify({ kty, crv, x })
  return { privateKey: (await importJWK(jwk, LINK_ALGORITHM)) as CryptoKey, publicKey }
}
