/** What `/metrics` says beside requests: jobs, processes, space, the age of backups. Read at each scrape. */
import { stat } from 'node:fs/promises'
import type { Clock } from '#base'
import type { Figure } from '#api'
import { type Catalog, countCatalog, listHostLinks, newestPoints } from '#catalog'
import { hostKey } from './hosts/host-key.ts'
import type { Hosts } from './hosts/hosts.ts'
import type { Health } from './serve.ts'
import { poolViews, storeViews } from './places/space-methods.ts'

type Sample = Figure['samples'][number]

type Seen = Readonly<{ catalog: Catalog; clock: Clock; hosts: Hosts }>

async function spaceFigures({ catalog, hosts }: Seen): Promise<Figure[]> {
  const pools = (await poolViews({ catalog, hosts })).map((pool) => ({
    ...pool,
    kind: 'pool',
    reserve: pool.reserveBytes,
  }))
  const stores = (await storeViews({ catalog })).map((store) => ({ ...store, kind: 'store', reserve: 0 }))
  const places = [...pools, ...stores].map(({ kind, region, name, space, reserve }) => ({
    labels: { kind, region, name },
    space,
    reserve,
  }))
  const samples = (of: (place: (typeof places)[number]) => number | undefined): Sample[] =>
    places.flatMap((place) => {
      const value = of(place)
      return value === undefined ? [] : [{ labels: place.labels, value }]
    })
  return [
    {
      name: 'holdfast_place_free_bytes',
      help: 'Free space of pools and of folders that are stores.',
      samples: samples(({ space }) => space?.freeBytes),
    },
    {
      name: 'holdfast_place_total_bytes',
      help: 'Size of the file system that holds the pool or store.',
      samples: samples(({ space }) => space?.totalBytes),
    },
    {
      name: 'holdfast_place_reserve_bytes',
      help: 'What is to stay free.',
      samples: samples(({ reserve }) => (reserve === 0 ? undefined : reserve)),
    },
  ]
}

async function hostFigure({ catalog, hosts }: Seen): Promise<Figure> {
  const samples = (await listHostLinks(catalog)).map((link): Sample => {
    const { region, name } = link
    return { labels: { region, name }, value: hosts.state(hostKey(link)) === undefined ? 0 : 1 }
  })
  return { name: 'holdfast_host_connected', help: 'Whether a host elsewhere is connected.', samples }
}

export async function figuresOf(seen: Seen, health: () => Promise<Health>): Promise<readonly Figure[]> {
  const { catalog, clock } = seen
  const { jobs, processes, version, alarms } = await health()
  const nowMs = clock.nowMs()
  const counted = Object.entries(await countCatalog(catalog))
  const points = await newestPoints(catalog)
  return [
    { name: 'holdfast_info', help: 'The version that serves.', samples: [{ labels: { version }, value: 1 }] },
    {
      name: 'holdfast_jobs',
      help: 'Jobs by state.',
      samples: Object.entries(jobs).map(([status, value]) => ({ labels: { status }, value })),
    },
    {
      name: 'holdfast_process_well',
      help: '1: the process runs and answers.',
      samples: processes.map(({ name, health }) => ({ labels: { process: name }, value: health === 'well' ? 1 : 0 })),
    },
    {
      name: 'holdfast_process_starts',
      help: 'How often this server started the process.',
      samples: processes.map(({ name, starts }) => ({ labels: { process: name }, value: starts })),
    },
    {
      name: 'holdfast_alarms',
      help: 'Pools and stores that are short of space or cannot be read.',
      samples: [{ value: alarms.length }],
    },
    {
      name: 'holdfast_catalog_rows',
      help: 'Records in the catalog.',
      samples: counted.map(([table, value]) => ({ labels: { table }, value })),
    },
    {
      name: 'holdfast_catalog_bytes',
      help: 'Size of the catalog’s file.',
      samples: [{ value: (await stat(catalog.path)).size }],
    },
    {
      name: 'holdfast_last_backup_age_seconds',
      help: 'Since the newest recovery point of a machine.',
      samples: points.map(({ machine, takenMs }) => ({ labels: { machine }, value: (nowMs - takenMs) / 1000 })),
    },
    ...(await spaceFigures(seen)),
    await hostFigure(seen),
  ]
}
