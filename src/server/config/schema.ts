/**
 * The settings of a server, in the order of the file. Every one of them is heeded by the code; what is not heeded is not
 * here. docs/configuration.md is held against this table by a test.
 */
import { isIP } from 'node:net'
import { isAbsolute } from 'node:path'
import { GIB } from '#base'
import { isWebhook } from '#domain'
import { choice, optionalText, section, size, text, texts, type ValueOf, whole } from './fields.ts'

const anAddress = { expected: 'an IP address', allows: (text: string) => isIP(text) !== 0 }
const aPath = { expected: 'an absolute path', allows: (text: string) => isAbsolute(text) && !text.includes('\0') }
const aName = {
  expected: 'a host name or IP address',
  allows: (text: string) => isIP(text) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text),
}
const anIpv4 = {
  expected: 'an IPv4 address of this host',
  allows: (text: string) => isIP(text) === 4 && text !== '0.0.0.0',
}
const aHost = {
  expected: 'a host name or IP address, with a port where it is not the usual one',
  allows: (text: string) => /^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?$/.test(text),
}

const aWebhook = {
  expected: 'an https URL, or an http one of this host’s loopback, without name and password',
  allows: isWebhook,
}

const DAYS_MAX = 36_500

export const CONFIG = section('Settings of this Holdfast. Read when "holdfast serve" starts.', {
  listen: section('Where the API listens.', {
    address: text('127.0.0.1', 'An address of this host; 0.0.0.0 or :: for all of them.', anAddress),
    port: whole(8443, '0 takes any free one.', { min: 0, max: 65_535 }),
    names: texts('Further names and addresses that clients use; they go into the certificate made here.', aName),
  }),
  tls: section('A certificate of your own. Without one the server makes its own, signed by a CA of this home.', {
    certificate: optionalText('PEM file: the certificate, then those between it and its CA.', aPath),
    key: optionalText('PEM file with its private key, not encrypted, readable by the server alone.', aPath),
    ca: optionalText('PEM file that clients are told to trust.', aPath),
  }),
  limits: section('What the server takes on at once.', {
    requestsPerSecond: whole(100, 'API requests of one client, on average; beyond it 429. 0: no limit.', {
      min: 0,
      max: 1_000_000,
    }),
    requestsBurst: whole(1000, 'API requests that one client may send at once.', { min: 1, max: 1_000_000 }),
    operationsAtOnce: whole(32, 'Long-running operations on resources at once.', { min: 1, max: 1000 }),
    backupsAtOnce: whole(2, 'Backups at once.', { min: 1, max: 100 }),
    tasksAtOnce: whole(64, 'Tasks that the worker of a host does at once, unless "host set" says otherwise.', {
      min: 1,
      max: 1000,
    }),
    bytesPerSecond: size(
      0,
      'What the worker of a host reads and writes a second, unless "host set" says otherwise. 0: no limit.',
    ),
  }),
  hosts: section('Where hosts elsewhere dial this server. Nothing listens there until the first one is added.', {
    address: text('127.0.0.1', 'An address of this host that they reach; 0.0.0.0 or :: for all of them.', anAddress),
    port: whole(8444, 'The one port that must be open between them and this server.', { min: 0, max: 65_535 }),
    name: optionalText(
      'Name or address by which they reach it, for join tokens. Else the address, or this host’s name.',
      aName,
    ),
  }),
  networks: section('Virtual networks of machines.', {
    address: text(
      '127.0.0.1',
      'What public addresses are: an address of this host, on which their ports listen.',
      anIpv4,
    ),
    firstPort: whole(20_000, 'Ports of this host for public addresses, from here', { min: 1, max: 65_535 }),
    lastPort: whole(29_999, 'to here.', { min: 1, max: 65_535 }),
    hostLoopback: choice('no', 'yes: machines reach servers on this host’s loopback, at 198.18.0.2.', ['no', 'yes']),
  }),
  imports: section('Where disks may come from, besides storage accounts.', {
    folders: texts('Folders of this host whose files may be imported, besides the folder "import" of the home.', aPath),
    hosts: texts('Hosts from whose URLs may be imported. Never loopback or link-local, whatever stands here.', aHost),
    adoptFolders: texts('Folders of this host whose images may be adopted in place.', aPath),
  }),
  reserve: section('Space that Holdfast leaves free: work that would use it is refused, so that guests do not stop.', {
    pool: size(2 * GIB, 'Of a pool, where it was not told otherwise when the pool was added.'),
    store: size(GIB, 'Of the file system that holds a store.'),
  }),
  snapshots: section('Limits that protect Azure’s own service.', {
    limits: choice('generous', 'azure: 7 snapshots of a disk in five minutes; generous: as many as are asked for.', [
      'generous',
      'azure',
    ]),
    perDisk: whole(500, 'Incremental snapshots of one disk; Azure keeps 500.', { min: 1, max: 100_000 }),
  }),
  machines: section(
    'What this host gives to the machines that it runs. One for which there is no room is made and not started.',
    {
      memory: size(0, 'Memory of all machines together. 0: seven eighths of what the host has, less 1 GiB.'),
      processors: whole(
        0,
        'Processors of all machines together; they are shared. 0: eight for each that the host has.',
        {
          min: 0,
          max: 100_000,
        },
      ),
    },
  ),
  vaults: section('How vaults of Azure Backup are kept safe.', {
    mirrorMinutes: whole(15, 'A mirror in another region is looked after so often; and after every backup.', {
      min: 1,
      max: 10_080,
    }),
    lagAlertMinutes: whole(60, 'A point that is not mirrored after this raises an alert.', { min: 1, max: 10_080 }),
    checkDays: whole(7, 'Every byte of a vault and its mirror is read and healed so often. 0: never by itself.', {
      min: 0,
      max: 365,
    }),
    catalogHours: whole(4, 'The catalog is copied into each vault so often. 0: never.', { min: 0, max: 720 }),
  }),
  alerts: section('Who is told of alerts of vaults.', {
    webhook: optionalText('URL that each is posted to: https, or http to the loopback of this host.', aWebhook),
    secretFile: optionalText('File whose bytes sign what is posted (HMAC-SHA-256).', aPath),
  }),
  retention: section('How long the server remembers.', {
    activityDays: whole(90, 'The activity log; Azure keeps 90.', { min: 1, max: DAYS_MAX }),
    operationDays: whole(30, 'Operations of the API that are over. At most jobDays.', { min: 1, max: DAYS_MAX }),
    jobDays: whole(90, 'Jobs that are over.', { min: 1, max: DAYS_MAX }),
  }),
  metrics: section(
    'Figures for Prometheus at /metrics, without login; they name regions, pools, stores and machines.',
    {
      open: choice('yes', 'no: there is no /metrics.', ['yes', 'no']),
    },
  ),
})

export type Config = ValueOf<typeof CONFIG>
