/** What a restore is told: JSON without secrets, made and checked by the API. */
import { JobsError } from '../../errors.ts'
import { recordOf } from '../../repository-access.ts'

export type RestoreKind = 'disks' | 'machine' | 'replace'

/** In whose name the API is asked for what the restore makes. */
export type RestoreCaller = Readonly<{ principal: string; baseUrl: string; correlationId: string }>

export type RestoreOrder = Readonly<{
  kind: RestoreKind
  vault: string
  itemKey: string
  /** Name of the recovery point. */
  point: string
  /** `mirror`: only the copy in the other region. */
  from: 'any' | 'mirror'
  /** Where to. */
  region: string
  /** Id of the resource group of what is made. */
  group: string
  /** Those of the point's disks that are wanted, by LUN (-1: the operating system's); null: all. */
  luns: readonly number[] | null
  /** Storage account that gets the template and the configuration; null: none. */
  storage: string | null
  /** Where clients find the account. */
  storageUrl: string | null
  caller: RestoreCaller
  /** Of `machine`: its id, the subnet of its cards. */
  machine: Readonly<{ id: string; subnet: string; zones: readonly string[] }> | null
  /** Of `replace`: id of the machine whose disks are replaced. */
  replaces: string | null
  /** Of `machine`: it runs on the vault's data at once, which moves in behind it. */
  instant: boolean
  /** Name of the machine whose point it is. */
  friendlyName: string
}>

/** The rest was made by the API. @throws JobsError `job_input_invalid` */
export function readRestoreOrder(given: unknown): RestoreOrder {
  const { kind, vault, itemKey, point, region, group } = recordOf(given, 'fields')
  const isKind = kind === 'disks' || kind === 'machine' || kind === 'replace'
  const texts = [vault, itemKey, point, region, group]
  if (isKind && texts.every((one) => typeof one === 'string')) return given as RestoreOrder
  throw new JobsError('job_input_invalid', 'The job’s input is no valid order of a restore.')
}

/** As Azure names restored disks: by machine, role and the second in which the restore began. */
export function restoredDiskName(machine: string, lun: number, nowMs: number): string {
  const time = new globalThis.Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')
  const role = lun < 0 ? 'osdisk' : `datadisk-${String(lun).padStart(3, '0')}`
  return `${machine.slice(0, 40)}-${role}-${time}`
}
