/**
 * Certificates with which principals log in instead of a secret, and the taking away of single credentials.
 *
 *   principal.add-certificate {principal, certificate}   → CredentialView; PEM, RSA; the key stays with its owner
 *   principal.remove-credential {principal, credential}  → CredentialView
 */
import { X509Certificate } from 'node:crypto'
import { isoTime, randomUuid } from '#base'
import { type Credential, deleteCredential, insertCredential, listCredentials, listPrincipals } from '#catalog'
import type { RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { type AdminParts, fieldsOf, recordChange, textOf } from './admin-call.ts'
import { type CredentialView, credentialView, principalNamed } from './principal-methods.ts'

const PEM_LENGTH_MAX = 16_384
const RSA_BITS_MIN = 2048
const HINT_LENGTH = 11
const ACTION = 'Microsoft.Graph/servicePrincipals'

function unusable(why: string, cause?: unknown): ServerError {
  return new ServerError('certificate_invalid', `The certificate cannot be used to log in: ${why}.`, {
    hint: 'Give an X.509 certificate in PEM with an RSA key of at least 2048 bits that has not ended.',
    cause,
  })
}

function parsed(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw unusable('it is no certificate in PEM', cause)
  }
}

/** @throws ServerError `certificate_invalid` */
function readCertificate(given: unknown, nowMs: number): X509Certificate {
  if (typeof given !== 'string' || given.length > PEM_LENGTH_MAX) throw unusable('it is no certificate in PEM')
  const certificate = parsed(given)
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey
  if (type !== 'rsa') throw unusable(`its key is ${type ?? 'unknown'}, not RSA`)
  if ((details?.modulusLength ?? 0) < RSA_BITS_MIN) throw unusable(`its key has ${details?.modulusLength ?? 0} bits`)
  if (certificate.validToDate.getTime() <= nowMs)
    throw unusable(`it ended at ${isoTime(certificate.validToDate.getTime())}`)
  return certificate
}

async function addCertificate(parts: AdminParts, params: unknown): Promise<CredentialView> {
  const fields = fieldsOf(params)
  const { catalog, clock, random } = parts
  const principal = principalNamed(await listPrincipals(catalog), textOf(fields, 'principal'))
  const certificate = readCertificate(fields['certificate'], clock.nowMs())
  const credential: Credential = {
    id: randomUuid(random),
    principal: principal.id,
    kind: 'certificate',
    verifier: certificate.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    hint: certificate.fingerprint256.slice(0, HINT_LENGTH),
    createdMs: clock.nowMs(),
    expiresMs: certificate.validToDate.getTime(),
  }
  await catalog.write((trx) => insertCredential(trx, credential))
  await recordChange(parts, `${ACTION}/addKey/action`, `/servicePrincipals/${principal.id}`)
  return credentialView(credential)
}

async function removeCredential(parts: AdminParts, params: unknown): Promise<CredentialView> {
  const fields = fieldsOf(params)
  const principal = principalNamed(await listPrincipals(parts.catalog), textOf(fields, 'principal'))
  const id = textOf(fields, 'credential').toLowerCase()
  const found = (await listCredentials(parts.catalog, principal.id)).find((credential) => credential.id === id)
  if (found === undefined)
    throw new ServerError('credential_not_found', `${principal.name} has no credential ${id}.`, {
      facts: { principal: principal.name, credential: id },
      hint: `See "holdfast principal show ${principal.name}".`,
    })
  await parts.catalog.write((trx) => deleteCredential(trx, id))
  await recordChange(parts, `${ACTION}/removePassword/action`, `/servicePrincipals/${principal.id}`)
  return credentialView(found)
}

export function certificateMethods(parts: AdminParts): RpcMethods {
  return {
    'principal.add-certificate': (params) => addCertificate(parts, params),
    'principal.remove-credential': (params) => removeCredential(parts, params),
  }
}
