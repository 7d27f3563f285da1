/** Client secrets: 256 random bits, shown once, kept as their SHA-256. (A random secret needs no slow hash; a chosen one would.) */
import { createHash, timingSafeEqual } from 'node:crypto'
import { type Random, randomUuid } from '#base'
import { type Catalog, type Credential, listCredentials } from '#catalog'

const SECRET_BYTES = 32
const HINT_LENGTH = 3

export type NewSecret = Readonly<{ secret: string; credential: Credential }>

function verifierOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** A secret for the principal, and the credential to record of it. The secret is in the answer and nowhere else. */
export function makeSecret(
  principal: string,
  source: Readonly<{ random: Random; nowMs: number; expiresMs?: number }>,
): NewSecret {
  const secret = `hf~${Buffer.from(source.random.bytes(SECRET_BYTES)).toString('base64url')}`
  const credential: Credential = {
    id: randomUuid(source.random),
    principal,
    kind: 'secret',
    verifier: verifierOf(secret),
    hint: secret.slice(0, HINT_LENGTH + 3),
    createdMs: source.nowMs,
    expiresMs: source.expiresMs,
  }
  return { secret, credential }
}

/** `expired` tells the owner of an old secret what is wrong; a wrong secret learns nothing. */
export async function checkSecret(
  catalog: Catalog,
  principal: string,
  secret: string,
  nowMs: number,
): Promise<'right' | 'wrong' | 'expired'> {
  const given = Buffer.from(verifierOf(secret), 'hex')
  let verdict: 'right' | 'wrong' | 'expired' = 'wrong'
  for (const { kind, verifier, expiresMs } of await listCredentials(catalog, principal)) {
    if (kind !== 'secret' || !timingSafeEqual(given, Buffer.from(verifier, 'hex'))) continue
    verdict = expiresMs !== undefined && expiresMs <= nowMs ? 'expired' : 'right'
  }
  return verdict
}
