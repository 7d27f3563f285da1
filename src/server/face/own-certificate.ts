/** A certificate that the administrator brought: read, and refused with its reason before anybody connects. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isoTime, messageOf } from '#base'
import { ServerError } from '../errors.ts'
import type { TlsFiles } from './certificates.ts'

export type OwnCertificate = Readonly<{ certificatePath: string; keyPath: string; caPath: string }>

function unusable(path: string, why: string, cause?: unknown): ServerError {
  return new ServerError('tls_unusable', `The file ${path} cannot be used for TLS: ${why}.`, {
    facts: { path },
    hint: 'Correct the section "tls" of the configuration, or leave it out: then Holdfast makes a certificate.',
    cause,
  })
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw unusable(path, messageOf(cause), cause)
  }
}

function parsed<T>(path: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw unusable(path, `it does not hold what it should (${messageOf(cause)})`, cause)
  }
}

/** @throws ServerError `tls_unusable`: unreadable, not PEM, key and certificate of different pairs, over, not begun */
export async function readOwnCertificate(own: OwnCertificate, nowMs: number): Promise<TlsFiles> {
  const { certificatePath, keyPath, caPath } = own
  const [certificate, key, authority] = await Promise.all([certificatePath, keyPath, caPath].map(readPem))
  const leaf = parsed(certificatePath, () => new X509Certificate(certificate ?? ''))
  parsed(caPath, () => new X509Certificate(authority ?? ''))
  if (!leaf.checkPrivateKey(parsed(keyPath, () => createPrivateKey(key ?? ''))))
    throw unusable(keyPath, `it is not the key of ${certificatePath}`)
  const [beginsMs, endsMs] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()]
  if (nowMs >= endsMs) throw unusable(certificatePath, `it ended at ${isoTime(endsMs)}`)
  if (nowMs < beginsMs) throw unusable(certificatePath, `it begins at ${isoTime(beginsMs)} only`)
  return { certificate: certificate ?? '', key: key ?? '', caPath }
}
