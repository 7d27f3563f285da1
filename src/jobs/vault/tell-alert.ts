/**
 * The job `tell-alert`: posts an alert to the administrator's webhook, when it is raised and when it is resolved. Durable: it is a job, which
 * is tried again for about a day and a half, over any restart. Told at least once; who must not act twice goes by the header `Holdfast-Delivery`.
 *
 * Where it may go is for the administrator alone to say, in the settings; nothing that comes by the API has a part in it. Still:
 *   - https to any host; http to this host's loopback only, written as an address or `localhost`;
 *   - the name is resolved here, every address it has is judged, and the connection goes to the one that was judged: never to
 *     link-local ones, where clouds keep their metadata, nor, but by a loopback name, to this host;
 *   - redirects are not followed, and what the other side answers is not kept: its status alone is;
 *   - no name or password in the URL. The body is signed: `Holdfast-Signature: t=<seconds>,v1=<hex>`, HMAC-SHA-256 of "<t>.<body>"
 *     with the bytes of the secret's file, so that whoever receives it knows who sent it and when.
 */
import { createHmac } from 'node:crypto'
import { lookup as resolveName } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP } from 'node:net'
import { type Clock, isoTime, messageOf, must } from '#base'
import { type Catalog, findAlert, type VaultAlert } from '#catalog'
import { isLoopbackUrl } from '#domain'
import { mayReach } from '../compute/reachable-address.ts'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'

export const TELL_ALERT_JOB = 'tell-alert'

export type Webhook = Readonly<{ url: string; secretFile: string | null }>
export type TellAlertInput = Readonly<{ alert: string; condition: 'Fired' | 'Resolved' }>
export type TellAlertParts = Readonly<{ catalog: Catalog; clock: Clock; webhook: Webhook | undefined }>

const SILENCE_MS_MAX = 20_000
/** About a day and a half. */
const RETRY = { attemptsMax: 48, delayMs: 2000, delayMsMax: 3_600_000 }
/** The alert in the words of Azure's common alert schema. */
export function alertPayload(alert: VaultAlert, condition: TellAlertInput['condition']): Record<string, unknown> {
  return {
    schemaId: 'azureMonitorCommonAlertSchema',
    data: {
      essentials: {
        alertId: `${alert.vaultKey}/providers/Microsoft.AlertsManagement/alerts/${alert.id}`,
        alertRule: alert.kind,
        severity: SEVERITIES[alert.severity],
        signalType: 'Log',
        monitorCondition: condition,
        monitoringService: 'Azure Backup',
        alertTargetIDs: [alert.itemKey ?? alert.vaultKey],
        firedDateTime: isoTime(alert.raisedMs),
        ...(alert.resolvedMs !== undefined && { resolvedDateTime: isoTime(alert.resolvedMs) }),
        description: alert.message,
        essentialsVersion: '1.0',
        alertContextVersion: '1.0',
      },
      alertContext: alert.facts,
    },
  }
}

export const SEVERITIES: Readonly<Record<VaultAlert['severity'], string>> = {
  Critical: 'Sev1',
  Warning: 'Sev2',
  Information: 'Sev3',
}

/** The headers that say who sent the body. */
export function signatureOf(secret: Uint8Array, body: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000)
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`
}

function notTold(what: string, cause?: unknown): JobsError {
  return new JobsError('alert_not_told', `The webhook was not told: ${what}`, {
    retry: 'later',
    hint: 'Check "alerts" in the settings, and what the other side says. It is tried again by itself.',
    ...(cause !== undefined && { cause }),
  })
}

async function addressOf(url: URL): Promise<string> {
  const name = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const found =
    isIP(name) > 0
      ? [name]
      : (
          await resolveName(name, { all: true }).catch((cause: unknown) => {
            throw notTold(`the name ${name} is not known.`, cause)
          })
        ).map(({ address }) => address)
  const isAllowed = isLoopbackUrl(url.href) ? (address: string) => /^(127\.|::1$)/.test(address) : mayReach
  const bad = found.find((address) => !isAllowed(address))
  if (bad !== undefined) throw notTold(`${name} has the address ${bad}, which is never told anything.`)
  return must(found[0], 'A name has an address')
}

async function post(
  url: URL,
  body: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const address = await addressOf(url)
  const family = isIP(address)
  const lookup = (
    _name: string,
    options: Readonly<{ all?: boolean }>,
    done: (error: null, address: string | { address: string; family: number }[], family?: number) => void,
  ): void => {
    if (options.all === true) done(null, [{ address, family }])
    else done(null, address, family)
  }
  const begin = url.protocol === 'https:' ? requestHttps : requestHttp
  const status = await new Promise<number>((resolve, reject) => {
    const options = { method: 'POST', lookup: lookup as never, signal, timeout: SILENCE_MS_MAX, agent: false, headers }
    const asked = begin(url, options, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
    asked.on('timeout', () => asked.destroy(new Error('it is silent.')))
    asked.on('error', reject)
    asked.end(body)
  }).catch((cause: unknown) => {
    throw notTold(messageOf(cause), cause)
  })
  if (status < 200 || status > 299) throw notTold(`it answers with status ${status}.`)
}

async function tell(parts: TellAlertParts, input: TellAlertInput, id: string, signal: AbortSignal): Promise<null> {
  const { catalog, clock, webhook } = parts
  const alert = await findAlert(catalog, input.alert)
  if (alert === undefined || webhook === undefined) return null
  const url = new URL(webhook.url)
  const body = JSON.stringify(alertPayload(alert, input.condition))
  const secret =
    webhook.secretFile === null
      ? undefined
      : await readFile(webhook.secretFile).catch((cause: unknown) => {
          throw notTold(`its secret cannot be read: ${messageOf(cause)}.`, cause)
        })
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'holdfast-delivery': id,
    ...(secret !== undefined && { 'holdfast-signature': signatureOf(secret, body, clock.nowMs()) }),
  }
  await post(url, body, headers, signal)
  return null
}

export function tellAlertJob(parts: TellAlertParts): JobDefinition<TellAlertInput, null> {
  return {
    name: TELL_ALERT_JOB,
    version: 1,
    parse: (given) => {
      const { alert, condition } = recordOf(given, 'fields')
      if (typeof alert !== 'string' || (condition !== 'Fired' && condition !== 'Resolved')) throw inputInvalid('alert')
      return { alert, condition }
    },
    run: (job, input) => job.step('tell', ({ signal }) => tell(parts, input, job.jobId, signal), { retry: RETRY }),
  }
}
