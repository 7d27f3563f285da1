/**
 * What a recovery point of a vault says of its machine in Azure's words: enough to make it again, in the API, with the catalog gone.
 * It lies in the point as the attachment `azure.json`. Nothing in it is secret: no password, no custom data.
 *
 * The format is kept: fields are added, never changed; who reads passes over what it does not know.
 */
export const AZURE_MACHINE_ATTACHMENT = 'azure.json'

type Body = Readonly<Record<string, unknown>>

/** A resource as its record has it: `body` is what the API shows beside id, name, location and tags. */
export type KeptResource = Readonly<{
  id: string
  name: string
  location: string
  tags: Readonly<Record<string, string>>
  body: Body
}>

export type KeptDisk = KeptResource &
  Readonly<{
    /** The managed disk's unique id: the disk's name in the point. */
    diskId: string
    /** -1: the operating system's. */
    lun: number
    sizeBytes: number
    /** Whether the point holds it; one that was left out is only told of. */
    included: boolean
  }>

export type AzureMachine = Readonly<{
  schema: 1
  /** `rg` of the machine. */
  group: string
  subscription: string
  machine: KeptResource
  firmware: 'bios' | 'uefi'
  /** `false`: a QEMU that somebody else started, whose disks were adopted. */
  owned: boolean
  disks: readonly KeptDisk[]
  /** Network interfaces, in the machine's order. */
  cards: readonly KeptResource[]
  networks: readonly KeptResource[]
  subnets: readonly KeptResource[]
  vault: Readonly<{ id: string; item: string; policy?: string }>
}>

/** What the API does not show of a machine that it has is not kept either. */
const SECRETS: readonly string[] = ['adminPassword', 'customData', 'secrets']

/** The body of a machine without what is secret in it. */
export function withoutSecrets(body: Body): Body {
  const properties = (body['properties'] ?? {}) as Body
  const profile = properties['osProfile'] as Body | undefined
  if (profile === undefined) return body
  const osProfile = Object.fromEntries(Object.entries(profile).filter(([name]) => !SECRETS.includes(name)))
  return { ...body, properties: { ...properties, osProfile } }
}

/** Whether a backup takes the disk. The operating system's is always taken. */
export function isTaken(
  lun: number,
  exclusion: Readonly<{ luns: readonly number[]; isInclusionList: boolean }> | undefined,
): boolean {
  if (lun < 0 || exclusion === undefined) return true
  return exclusion.luns.includes(lun) === exclusion.isInclusionList
}
