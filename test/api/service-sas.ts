/** A service SAS of version 2021-08-06, as a client makes it with a key of the account ("Create a service SAS"). */
import { createHmac } from 'node:crypto'

const VERSION = '2021-08-06'

type Sas = Readonly<{ account: string; resource: string; kind: 'b' | 'c'; permissions: string; expiryMs: number }>

/** The query. @param key base64, as `listKeys` gives it */
export function serviceSas(key: string, { account, resource, kind, permissions, expiryMs }: Sas): string {
  const expiry = new globalThis.Date(expiryMs).toISOString()
  const signed = [permissions, '', expiry, `/blob/${account}${resource}`, '', '', '', VERSION, kind]
  // Version of a snapshot, encryption scope, and five headers of the answer: none.
  const text = [...signed, ...Array.from({ length: 7 }, () => '')].join('\n')
  const sig = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')
  return new URLSearchParams({ sp: permissions, se: expiry, sv: VERSION, sr: kind, sig }).toString()
}
