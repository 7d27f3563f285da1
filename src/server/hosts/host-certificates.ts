/** Key pairs and certificates of the way between a server and its hosts. */
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { ServerError } from '../errors.ts'
import { issueCertificate } from '../face/certificates.ts'
import { DOOR_NAME } from './host-protocol.ts'

const HOST_DAYS = 90
const DOOR_DAYS = 397
const KEY_LENGTH_MAX = 1000

export type KeyPair = Readonly<{ publicKey: string; privateKey: string }>
export type OwnKey = Readonly<{ certificate: string; privateKey: string }>

/** P-256, as PEM. */
export function newKeyPair(): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return { publicKey, privateKey }
}

/** SHA-256 of a certificate, hexadecimal. */
export function fingerprintOf(certificate: string | Buffer): string {
  return new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase()
}

export function endOf(certificate: string): number {
  return new X509Certificate(certificate).validToDate.getTime()
}

/** What a host gave, in one spelling. @throws ServerError `request_invalid` unless it is a public key on P-256 */
export function readPublicKey(given: unknown): string {
  try {
    if (typeof given !== 'string' || given.length > KEY_LENGTH_MAX) throw new TypeError('no text of a key')
    const key = createPublicKey(given)
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('another kind of key')
    return key.export({ type: 'spki', format: 'pem' }).toString()
  } catch (cause) {
    throw new ServerError('request_invalid', 'The request has no valid publicKey.', {
      facts: { what: 'publicKey' },
      cause,
    })
  }
}

export function issueForHost(tlsFolder: string, host: Readonly<{ region: string; name: string }>, publicKey: string) {
  const subject = { O: 'Holdfast host', OU: host.region, CN: host.name }
  return issueCertificate(tlsFolder, { publicKey, subject, usage: 'clientAuth', days: HOST_DAYS })
}

/** What the server shows to hosts: kept nowhere, made at each start. */
export async function issueForDoor(tlsFolder: string): Promise<OwnKey> {
  const { publicKey, privateKey } = newKeyPair()
  const subject = { O: 'Holdfast', CN: DOOR_NAME }
  const wanted = { publicKey, subject, usage: 'serverAuth', names: [DOOR_NAME], days: DOOR_DAYS } as const
  return { certificate: await issueCertificate(tlsFolder, wanted), privateKey }
}
