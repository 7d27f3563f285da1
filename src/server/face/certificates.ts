/**
 * TLS from the first start: a certificate authority of this home's own, made once, and a server certificate that it signs,
 * made again before it runs out or when the names change. Made with `openssl`; the keys are files of mode 0600.
 *
 *   tls/ca.crt  tls/ca.key            P-256, ten years; clients are told to trust ca.crt
 *   tls/server.crt  tls/server.key    P-256, 397 days; localhost, the host's name, and the address that is listened on
 *
 * The same authority signs for peers (`issueCertificate`): only their public key is taken from them, nothing that they say.
 *
 * Your own certificate instead: `tls.certificate` and `tls.key` in the configuration.
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { type Clock, errnoOf } from '#base'
import { checkCommand } from '#runtime'

/** PEM texts, and the file that clients are told to trust. */
export type TlsFiles = Readonly<{ certificate: string; key: string; caPath: string }>

const CA_DAYS = 3650
const SERVER_DAYS = 397
const RENEW_BEFORE_MS = 30 * 24 * 3600 * 1000

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function openssl(...args: readonly string[]): Promise<void> {
  await checkCommand('openssl', args)
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Both files appear together or the next start makes them again. */
async function makeAuthority(folder: string): Promise<void> {
  const [key, certificate] = [join(folder, 'ca.key'), join(folder, 'ca.crt')]
  const subject = `/O=Holdfast/CN=Holdfast CA of ${hostname()}`
  const usage = [
    '-addext',
    'basicConstraints=critical,CA:TRUE,pathlen:0',
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  ]
  await openssl(
    'req',
    '-x509',
    ...NEW_KEY,
    '-keyout',
    `${key}.new`,
    '-out',
    `${certificate}.new`,
    '-days',
    String(CA_DAYS),
    '-subj',
    subject,
    ...usage,
  )
  await rename(`${key}.new`, key)
  await rename(`${certificate}.new`, certificate)
}

async function makeServer(folder: string, names: readonly string[]): Promise<void> {
  const path = (name: string): string => join(folder, name)
  const extensions = [
    `subjectAltName=${names.map((name) => (isIP(name) === 0 ? `DNS:${name}` : `IP:${name}`)).join(',')}`,
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=serverAuth',
  ]
  await writeFile(path('server.ext'), extensions.join('\n'), { mode: 0o600 })
  await openssl(
    'req',
    '-new',
    ...NEW_KEY,
    '-keyout',
    path('server.key.new'),
    '-out',
    path('server.csr'),
    '-subj',
    '/O=Holdfast/CN=Holdfast',
  )
  const signer = ['-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial']
  const files = ['-in', path('server.csr'), '-out', path('server.crt.new'), '-extfile', path('server.ext')]
  await openssl('x509', '-req', '-sha256', '-days', String(SERVER_DAYS), ...signer, ...files)
  await rename(path('server.key.new'), path('server.key'))
  await rename(path('server.crt.new'), path('server.crt'))
  for (const left of ['server.csr', 'server.ext', 'ca.srl']) await rm(path(left), { force: true })
}

function isGood(
  certificate: X509Certificate,
  key: string,
  authority: X509Certificate,
  names: readonly string[],
  nowMs: number,
): boolean {
  const covers = (name: string): boolean =>
    (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined
  const endsMs = certificate.validToDate.getTime()
  return key !== '' && certificate.checkIssued(authority) && names.every(covers) && endsMs - nowMs > RENEW_BEFORE_MS
}

/** Makes the authority unless there is one. Gives its certificate's path. */
export async function openAuthority(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const caPath = join(folder, 'ca.crt')
  if ((await readIfThere(caPath)) === undefined || (await readIfThere(join(folder, 'ca.key'))) === undefined)
    await makeAuthority(folder)
  return caPath
}

export type PeerCertificate = Readonly<{
  /** PEM (SPKI). */
  publicKey: string
  /** Values without `/`. */
  subject: Readonly<{ O: string; OU?: string; CN: string }>
  usage: 'clientAuth' | 'serverAuth'
  /** DNS names. */
  names?: readonly string[]
  days: number
}>

const SERIAL_BYTES = 16

/** A certificate of the folder's authority, as PEM. Leaves nothing behind but, after a crash, a folder `issue-*`. */
export async function issueCertificate(folder: string, wanted: PeerCertificate): Promise<string> {
  await openAuthority(folder)
  const { publicKey, subject, usage, names = [], days } = wanted
  const work = await mkdtemp(join(folder, 'issue-'))
  const path = (name: string): string => join(work, name)
  try {
    const extensions = [
      ...(names.length === 0 ? [] : [`subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`]),
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      `extendedKeyUsage=${usage}`,
    ]
    await writeFile(path('key.pem'), publicKey)
    await writeFile(path('ext'), extensions.join('\n'))
    const subj = Object.entries(subject).map(([name, value]) => `/${name}=${value}`)
    const serial = `0x01${randomBytes(SERIAL_BYTES - 1).toString('hex')}`
    const signer = ['-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key'), '-set_serial', serial]
    const what = ['-force_pubkey', path('key.pem'), '-subj', subj.join(''), '-extfile', path('ext')]
    const span = ['-days', String(days), '-sha256', '-out', path('crt')]
    await openssl('x509', '-new', ...what, ...signer, ...span)
    return await readFile(path('crt'), 'utf8')
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** The certificate to listen with, made or renewed where needed. @param addresses that clients will use besides localhost */
export async function openTls(folder: string, addresses: readonly string[], clock: Clock): Promise<TlsFiles> {
  const caPath = await openAuthority(folder)
  const wildcards = ['0.0.0.0', '::']
  const names = [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...addresses])].filter(
    (name) => !wildcards.includes(name),
  )
  const authority = new X509Certificate(await readFile(caPath, 'utf8'))
  const read = async () => ({
    certificate: await readIfThere(join(folder, 'server.crt')),
    key: (await readIfThere(join(folder, 'server.key'))) ?? '',
  })
  const existing = await read()
  const good =
    existing.certificate !== undefined &&
    isGood(new X509Certificate(existing.certificate), existing.key, authority, names, clock.nowMs())
  if (!good) await makeServer(folder, names)
  const { certificate = '', key } = good ? existing : await read()
  return { certificate, key, caPath }
}
