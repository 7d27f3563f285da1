/**
 * The body of a machine as what is wanted: every field checked by its table and by itself, nothing looked up yet. What is secret
 * in it is apart from the rest (`firstBoot`), so that nothing else can hold it.
 */
import { ArmError, readLocation, readTags, type Tags } from '#contract'
import { findMachineSize, type MachineSize } from '#domain'
import type { FirstBoot } from '#jobs'
import { checkFields, fieldAt, type FieldTable, storedFields } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { DATA_DISK_FIELDS, MACHINE_FIELDS, NIC_FIELDS, SSH_KEY_FIELDS } from './machine-fields.ts'

const P = 'properties.'
const U = 'properties.osProfile.'

type Fields = Readonly<Record<string, unknown>>

export type DiskCreateOption = 'Attach' | 'Empty' | 'Copy' | 'Restore' | 'FromImage'
const CREATE_OPTIONS: readonly DiskCreateOption[] = ['Attach', 'Empty', 'Copy', 'Restore', 'FromImage']

/** A disk of the machine as its body names it. */
export type WishedDisk = Readonly<{
  /** Undefined: the OS disk. */
  lun: number | undefined
  createOption: DiskCreateOption
  id: string | undefined
  sourceId: string | undefined
  name: string | undefined
  sizeGb: unknown
  osType: string | undefined
  caching: string
  deleteOption: 'Delete' | 'Detach'
  storageAccountType: string | undefined
  toBeDetached: boolean
  /** Where it stands in the body. */
  target: string
}>

export type WishedDataDisk = WishedDisk & Readonly<{ lun: number }>
export type WishedNic = Readonly<{ id: string; primary: boolean; deleteOption: 'Delete' | 'Detach' }>

export type MachineRequest = Readonly<{
  location: string | undefined
  tags: Tags | undefined
  size: MachineSize | undefined
  imageReference: Fields | undefined
  osDisk: WishedDisk | undefined
  /** Undefined: nothing was said of them. */
  dataDisks: readonly WishedDataDisk[] | undefined
  nics: readonly WishedNic[] | undefined
  /** As it is shown. */
  osProfile: Fields | undefined
  firstBoot: Omit<FirstBoot, 'vmId'> | undefined
  userData: string | undefined
  bootDiagnostics: boolean | undefined
  /** Properties that are kept as they are. */
  stored: Fields
  /** Members beside `properties` that are. */
  storedTop: Fields
}>

const OS_TYPES = ['Linux', 'Windows'] as const
const USER = /^[a-z_][a-z0-9_-]{0,31}$/i
const HOST_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/
/** Azure's bound, decoded. */
const DATA_BYTES_MAX = 64 * 1024
const PASSWORD_CHARS_MAX = 72
const KEY = /^[\x21-\x7e]+ [\x21-\x7e]+( [^\r\n]*)?$/
const NICS_MAX = 4

export function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function textAt(body: unknown, path: string): string | undefined {
  const value = fieldAt(body, path)
  if (value === undefined || typeof value === 'string') return value
  throw invalid(path, `'${path}' must be a text.`)
}

/** As `checkFields`, with the entry's place in what it says. */
function checkEntry(table: FieldTable, entry: Fields, place: string): void {
  try {
    checkFields(table, entry)
  } catch (error) {
    if (!(error instanceof ArmError)) throw error
    throw new ArmError(error.code, `${place}: ${error.message}`, { target: `${place}.${error.target ?? ''}` })
  }
}

/** The entries of a list, each checked by its table. */
function entriesAt(body: unknown, path: string, table: FieldTable): Fields[] | undefined {
  const list = fieldAt(body, path)
  if (list === undefined) return undefined
  if (!Array.isArray(list)) throw invalid(path, `'${path}' must be a list.`)
  return list.map((entry: unknown, at) => {
    checkEntry(table, objectBody(entry), `${path}[${at}]`)
    return entry as Fields
  })
}

function choice<T extends string>(value: unknown, of: readonly T[], otherwise: T): T {
  return of.find((one) => one.toLowerCase() === String(value).toLowerCase()) ?? otherwise
}

function readDisk(entry: Fields, lun: number | undefined, target: string): WishedDisk {
  const option = fieldAt(entry, 'createOption')
  const createOption = CREATE_OPTIONS.find((one) => one.toLowerCase() === String(option).toLowerCase())
  if (createOption === undefined) throw invalid(`${target}.createOption`, `'${target}.createOption' is required.`)
  return {
    lun,
    createOption,
    id: textAt(entry, 'managedDisk.id'),
    sourceId: textAt(entry, 'sourceResource.id'),
    name: textAt(entry, 'name'),
    sizeGb: fieldAt(entry, 'diskSizeGB'),
    osType: fieldAt(entry, 'osType') === undefined ? undefined : choice(fieldAt(entry, 'osType'), OS_TYPES, 'Linux'),
    caching: choice(
      fieldAt(entry, 'caching'),
      ['ReadOnly', 'ReadWrite', 'None'],
      lun === undefined ? 'ReadWrite' : 'None',
    ),
    deleteOption: choice(fieldAt(entry, 'deleteOption'), ['Delete', 'Detach'], 'Detach'),
    storageAccountType: textAt(entry, 'managedDisk.storageAccountType'),
    toBeDetached: fieldAt(entry, 'toBeDetached') === true,
    target,
  }
}

function readDataDisk(entry: Fields, at: number): WishedDataDisk {
  const target = `properties.storageProfile.dataDisks[${at}]`
  const lun = fieldAt(entry, 'lun')
  if (typeof lun !== 'number') throw invalid(`${target}.lun`, 'Each data disk needs a lun.')
  return { ...readDisk(entry, lun, target), lun }
}

function readNics(body: unknown): WishedNic[] | undefined {
  const path = `${P}networkProfile.networkInterfaces`
  const entries = entriesAt(body, path, NIC_FIELDS)
  if (entries === undefined) return undefined
  if (entries.length > NICS_MAX) throw invalid(path, `A machine has at most ${NICS_MAX} network interfaces.`)
  const hasPrimary = entries.some((nic) => fieldAt(nic, 'properties.primary') === true)
  return entries.map((nic, at) => {
    const id = textAt(nic, 'id')
    if (id === undefined) throw invalid(`${path}[${at}].id`, 'Each network interface needs its id.')
    return {
      id,
      primary: hasPrimary ? fieldAt(nic, 'properties.primary') === true : at === 0,
      deleteOption: choice(fieldAt(nic, 'properties.deleteOption'), ['Delete', 'Detach'], 'Detach'),
    }
  })
}

function readBase64(text: string | undefined, target: string): string | undefined {
  if (text === undefined || text === '') return undefined
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') !== text.replace(/\s/g, '').replace(/=+$/, ''))
    throw invalid(target, `'${target}' must be base64.`)
  if (bytes.length > DATA_BYTES_MAX) throw invalid(target, `'${target}' may have ${DATA_BYTES_MAX} bytes at most.`)
  return bytes.toString('utf8')
}

function readKeys(body: unknown): Readonly<{ path: string | undefined; keyData: string }>[] {
  const path = `${U}linuxConfiguration.ssh.publicKeys`
  return (entriesAt(body, path, SSH_KEY_FIELDS) ?? []).map((key, at) => {
    const keyData = textAt(key, 'keyData')?.trim() ?? ''
    if (!KEY.test(keyData)) throw invalid(`${path}[${at}].keyData`, 'A public key is one line, as in authorized_keys.')
    return { path: textAt(key, 'path'), keyData }
  })
}

function readAdmin(body: unknown, keys: readonly string[]): FirstBoot['admin'] {
  const name = textAt(body, `${U}adminUsername`)
  const password = textAt(body, `${U}adminPassword`)
  const isKeyOnly = fieldAt(body, `${U}linuxConfiguration.disablePasswordAuthentication`) === true
  if (name === undefined) {
    if (password === undefined && keys.length === 0) return undefined
    throw invalid(`${U}adminUsername`, 'A password or key needs the adminUsername that it is of.')
  }
  if (!USER.test(name) || name.toLowerCase() === 'root')
    throw invalid(`${U}adminUsername`, `'${name}' cannot be the name of the administrator.`)
  if (password !== undefined && (password === '' || password.length > PASSWORD_CHARS_MAX || /\p{Cc}/u.test(password)))
    throw invalid(`${U}adminPassword`, `A password has 1 to ${PASSWORD_CHARS_MAX} characters, none of them a control.`)
  if (password !== undefined && isKeyOnly)
    throw invalid(`${U}adminPassword`, 'A password and disablePasswordAuthentication exclude each other.')
  if (password === undefined && keys.length === 0)
    throw invalid(`${U}adminPassword`, 'The administrator needs a password or a public key.')
  return { name, sshKeys: keys, ...(password !== undefined && { password }) }
}

type Profile = Readonly<{ shown: Fields; boot: Omit<FirstBoot, 'vmId'> }>

function readProfile(body: unknown, machine: string, userData: string | undefined): Profile | undefined {
  if (fieldAt(body, 'properties.osProfile') === undefined) return undefined
  const keys = readKeys(body)
  const hostName = textAt(body, `${U}computerName`) ?? machine
  if (!HOST_NAME.test(hostName)) throw invalid(`${U}computerName`, `'${hostName}' cannot be the name of a host.`)
  const admin = readAdmin(
    body,
    keys.map(({ keyData }) => keyData),
  )
  const custom = readBase64(textAt(body, `${U}customData`), `${U}customData`) ?? userData
  const linux = {
    ...storedFields(MACHINE_FIELDS, body, `${U}linuxConfiguration.`),
    disablePasswordAuthentication: admin?.password === undefined,
    ...(keys.length > 0 && { ssh: { publicKeys: keys.map(({ path, keyData }) => ({ path, keyData })) } }),
  }
  const shown = {
    computerName: hostName,
    ...(admin !== undefined && { adminUsername: admin.name }),
    linuxConfiguration: linux,
    secrets: [],
    allowExtensionOperations: true,
    requireGuestProvisionSignal: false,
    ...storedFields(MACHINE_FIELDS, body, U),
  }
  const boot = { hostName, ...(admin !== undefined && { admin }), ...(custom !== undefined && { userData: custom }) }
  return { shown, boot }
}

function readSize(body: unknown): MachineSize | undefined {
  const target = `${P}hardwareProfile.vmSize`
  const name = textAt(body, target)
  if (name === undefined) return undefined
  const size = findMachineSize(name)
  if (size !== undefined) return size
  throw invalid(
    target,
    `The value '${name}' of vmSize is no size that is known here. List sizes, or say Holdfast_1x512.`,
  )
}

/** @param machine its name, which its guest has where nothing else is said */
export function readMachineRequest(given: unknown, machine: string): MachineRequest {
  const body = objectBody(given)
  checkFields(MACHINE_FIELDS, body)
  const location = fieldAt(body, 'location')
  const tags = fieldAt(body, 'tags')
  const os = fieldAt(body, `${P}storageProfile.osDisk`)
  const userDataText = textAt(body, `${P}userData`)
  const userData = readBase64(userDataText, `${P}userData`)
  const profile = readProfile(body, machine, userData)
  const enabled = fieldAt(body, `${P}diagnosticsProfile.bootDiagnostics.enabled`)
  const data = entriesAt(body, `${P}storageProfile.dataDisks`, DATA_DISK_FIELDS)
  return {
    location: location === undefined ? undefined : readLocation(location),
    tags: tags === undefined ? undefined : readTags(tags),
    size: readSize(body),
    imageReference: fieldAt(body, `${P}storageProfile.imageReference`) as Fields | undefined,
    osDisk: os === undefined ? undefined : readDisk(os as Fields, undefined, `${P}storageProfile.osDisk`),
    dataDisks: data?.map(readDataDisk),
    nics: readNics(body),
    osProfile: profile?.shown,
    firstBoot: profile?.boot ?? (userData === undefined ? undefined : { hostName: machine, userData }),
    userData: userDataText,
    bootDiagnostics: typeof enabled === 'boolean' ? enabled : undefined,
    stored: storedFields(MACHINE_FIELDS, body, P),
    storedTop: storedFields(MACHINE_FIELDS, body, ''),
  }
}
