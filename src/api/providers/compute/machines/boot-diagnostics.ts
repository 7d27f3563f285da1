/**
 * Boot diagnostics: what a machine wrote to its serial port, and its screen, behind signed URLs. Nothing is kept for them: the
 * host is asked when a URL is opened, so they show the moment of the look.
 *
 *   https://host:port/blob/machine/{vmId}/{serial | screenshot}?se={expiry}&sig={HMAC-SHA-256, base64url}
 *
 * What a URL allows is signed; it holds until it expires, for as long as there is the machine.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isoTime } from '#base'
import { ArmError } from '#contract'
import { listOwnMachines, ownMachineOf, propertiesOf, vmIdOf } from '#jobs'
import { type ArmCall, type ArmHost, type ArmReply, ok } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { BlobRefusal, type BlobRequest, commonHeaders, notSupported } from '../../../blob/blob-http.ts'
import { findMachine } from './machine-commands.ts'

const KINDS = ['serial', 'screenshot'] as const
type Kind = (typeof KINDS)[number]

const MINUTES_DEFAULT = 120
const MINUTES_MAX = 1440

function signatureOf(key: Uint8Array, vmId: string, kind: Kind, expires: string): string {
  const text = ['holdfast machine access 1', vmId, kind, expires].join('\n')
  return createHmac('sha256', key).update(text).digest('base64url')
}

function urlOf(call: ArmCall, vmId: string, kind: Kind, expires: string): string {
  const query = new URLSearchParams({ se: expires, sig: signatureOf(call.host.disks.accessKey, vmId, kind, expires) })
  return `${call.baseUrl}/blob/machine/${vmId}/${kind}?${query.toString()}`
}

function minutesIn(call: ArmCall): number {
  const given = call.query('sasUriExpirationTimeInMinutes')
  const minutes = given === undefined ? MINUTES_DEFAULT : Number(given)
  if (Number.isInteger(minutes) && minutes >= 1 && minutes <= MINUTES_MAX) return minutes
  throw new ArmError('InvalidParameter', `sasUriExpirationTimeInMinutes must be between 1 and ${MINUTES_MAX}.`)
}

/** POST retrieveBootDiagnosticsData. */
export async function retrieveBootDiagnostics(call: ArmCall): Promise<ArmReply> {
  const record = await findMachine(call)
  if (ownMachineOf(record) === undefined)
    throw new ArmError('NotSupported', 'The machine was adopted: its logs are where it was made.')
  if (fieldAt(propertiesOf(record), 'diagnosticsProfile.bootDiagnostics.enabled') === false)
    throw new ArmError('OperationNotAllowed', `Boot diagnostics of '${record.name}' are switched off.`)
  const expires = isoTime(call.host.clock.nowMs() + minutesIn(call) * 60_000)
  const vmId = vmIdOf(record)
  return ok({
    consoleScreenshotBlobUri: urlOf(call, vmId, 'screenshot', expires),
    serialConsoleLogBlobUri: urlOf(call, vmId, 'serial', expires),
  })
}

function refused(): BlobRefusal {
  return new BlobRefusal(403, 'AuthenticationFailed', 'The signature is not valid or has expired.')
}

function isSigned(key: Uint8Array, vmId: string, kind: Kind, query: URLSearchParams): boolean {
  const given = Buffer.from(query.get('sig') ?? '')
  const right = Buffer.from(signatureOf(key, vmId, kind, query.get('se') ?? ''))
  return given.length === right.length && timingSafeEqual(given, right)
}

/** Answers such a URL. @throws BlobRefusal, and what the host says */
export async function serveMachineBlob(host: ArmHost, call: BlobRequest): Promise<void> {
  const [, , , vmId = '', name = ''] = call.url.pathname.split('/')
  const kind = KINDS.find((one) => one === name)
  if (kind === undefined || !isSigned(host.disks.accessKey, vmId, kind, call.url.searchParams)) throw refused()
  if (!(globalThis.Date.parse(call.url.searchParams.get('se') ?? '') > host.clock.nowMs())) throw refused()
  if (call.method !== 'GET' && call.method !== 'HEAD') throw notSupported(`${call.method} on a machine`)
  const found = (await listOwnMachines(host.catalog)).find(({ record }) => vmIdOf(record) === vmId)
  if (found === undefined) throw new BlobRefusal(404, 'BlobNotFound', 'There is no such machine any more.')
  const { machine } = found.own
  const bytes = kind === 'serial' ? await host.machines.serialLog(machine) : await host.machines.screenshot(machine)
  call.response.writeHead(200, {
    ...commonHeaders(call.requestId),
    'content-type': kind === 'serial' ? 'text/plain' : 'image/png',
    'content-length': bytes.length,
    'cache-control': 'no-store',
  })
  call.response.end(call.method === 'HEAD' ? undefined : bytes)
}
