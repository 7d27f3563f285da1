/** Virtual networks and what is in them, by the API: what is taken, what is refused and how, and that a running one follows. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { must } from '#base'
import { insideNetwork } from '#engine/hypervisor'
import { followed, VERSION } from './api-world.ts'
import { configuration, type Failure, NetworkApi, refusal, type Shown } from './network-world.ts'

const run = promisify(execFile)
const CONTRIBUTOR = '4d97b98b-1d4f-4787-a291-c67834d212e7'
const MACHINE_CONTRIBUTOR = '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'

const space = (...addressPrefixes: string[]) => ({ addressSpace: { addressPrefixes } })
const subnet = (name: string, addressPrefix: string, more: Record<string, unknown> = {}) => ({
  name,
  properties: { addressPrefix, ...more },
})

function configurationOf(card: Shown): Record<string, unknown> {
  const [one] = card.properties['ipConfigurations'] as { properties: Record<string, unknown> }[]
  return must(one, 'A card has a configuration').properties
}

describe('Microsoft.Network', () => {
  let world: NetworkApi
  before(async () => {
    world = await NetworkApi.make()
  })
  after(() => world[Symbol.asyncDispose]())

  it('makes a network with subnets, and shows them inside and by themselves', async () => {
    const body = { ...space('10.0.0.0/16'), subnets: [subnet('s1', '10.0.0.0/24')] }
    const made = await world.put('virtualNetworks/v1', body, { tags: { a: 'b' } })
    assert.equal(made.status, 201)
    const shown = await world.made(made)
    const [inside] = shown.properties['subnets'] as Shown[]
    assert.equal(inside?.id, world.id('virtualNetworks/v1/subnets/s1'))
    assert.equal(inside.properties['addressPrefix'], '10.0.0.0/24')
    const again = await world.put('virtualNetworks/v1', { ...body, subnets: undefined })
    assert.equal(again.status, 200)
    assert.equal((again.body.properties['subnets'] as Shown[]).length, 1, 'subnets that are not spoken of stay')
    assert.deepEqual(again.body.tags, {})
    await world.made(
      await world.put('virtualNetworks/v1/subnets/s2', {
        addressPrefixes: ['10.0.1.0/24'],
        defaultOutboundAccess: false,
      }),
    )
    const second = await world.get('virtualNetworks/v1/subnets/s2')
    assert.equal(second.body.properties['defaultOutboundAccess'], false)
    const list = await world.get<{ value: Shown[] }>('virtualNetworks/v1/subnets')
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['s1', 's2'],
    )
    const whole = await world.put('virtualNetworks/v1', { ...space('10.0.0.0/16'), subnets: [inside] })
    assert.deepEqual(
      (whole.body.properties['subnets'] as Shown[]).map(({ name }) => name),
      ['s1'],
      'what is left out goes',
    )
    const all = await world.ask<{ value: Shown[] }>(
      'GET',
      `${world.api.subscription}/providers/Microsoft.Network/virtualNetworks?${VERSION}`,
    )
    assert.deepEqual(
      all.body.value.map(({ name }) => name),
      ['v1'],
    )
  })

  it('refuses address spaces and subnets that cannot be, with Azure’s codes, and changes nothing', async () => {
    const cases: [string, unknown, RegExp][] = [
      ['virtualNetworks/bad', space('10.0.0.5/24'), /^400 InvalidCIDRNotation .*10\.0\.0\.0\/24/],
      ['virtualNetworks/bad', space('nonsense'), /^400 InvalidAddressPrefixFormat/],
      ['virtualNetworks/bad', {}, /^400 NetcfgInvalidAddressPrefix/],
      ['virtualNetworks/bad', space('198.18.0.0/24'), /^400 AddressPrefixNotSupported/],
      [
        'virtualNetworks/bad',
        { ...space('10.0.0.0/16'), subnets: [subnet('x', '10.1.0.0/24')] },
        /^400 NetcfgInvalidSubnet .*'x'/,
      ],
      [
        'virtualNetworks/bad',
        { ...space('10.0.0.0/16'), subnets: [subnet('x', '10.0.0.0/24'), subnet('y', '10.0.0.0/25')] },
        /^400 NetcfgSubnetRangesOverlap/,
      ],
      ['virtualNetworks/v1/subnets/x', { addressPrefix: '10.0.0.128/25' }, /^400 NetcfgSubnetRangesOverlap .*'s1'/],
      [
        'virtualNetworks/v1/subnets/x',
        { addressPrefix: '10.0.2.0/24', natGateway: { id: '/x' } },
        /^400 UnsupportedField .*natGateway/,
      ],
      [
        'virtualNetworks/v1',
        { ...space('10.0.0.0/16'), virtualNetworkPeerings: [{ name: 'p' }] },
        /^400 UnsupportedField .*virtualNetworkPeerings/,
      ],
      ['virtualNetworks/v1', { ...space('10.0.0.0/16'), dhcpOptions: { dnsServers: ['x'] } }, /^400 InvalidParameter/],
    ]
    for (const [path, body, expected] of cases) assert.match(refusal(await world.put(path, body)), expected)
    assert.equal((await world.get('virtualNetworks/bad')).status, 404)
    assert.match(
      refusal(await world.put('virtualNetworks/none/subnets/x', { addressPrefix: '10.0.0.0/24' })),
      /^404 ResourceNotFound/,
    )
    const elsewhere = await world.put('virtualNetworks/v9', space('10.0.0.0/16'), { location: 'nowhere' })
    assert.match(refusal(elsewhere), /^400 InvalidLocation/)
  })

  it('gives cards addresses for life: the lowest free one, or the one that is asked for', async () => {
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    const first = await world.made(await world.put('networkInterfaces/n1', configuration(s1)))
    assert.equal(configurationOf(first)['privateIPAddress'], '10.0.0.4')
    assert.match(String(first.properties['macAddress']), /^52-54-00(-[0-9A-F]{2}){3}$/)
    const fixed = configuration(s1, { privateIPAllocationMethod: 'Static', privateIPAddress: '10.0.0.6' })
    assert.equal(
      configurationOf(await world.made(await world.put('networkInterfaces/n2', fixed)))['privateIPAddress'],
      '10.0.0.6',
    )
    const third = await world.made(await world.put('networkInterfaces/n3', configuration(s1)))
    assert.equal(configurationOf(third)['privateIPAddress'], '10.0.0.5')
    const again = await world.made(await world.put('networkInterfaces/n1', first.properties, { tags: { owner: 'x' } }))
    assert.deepEqual(
      [again.properties['macAddress'], configurationOf(again)['privateIPAddress']],
      [first.properties['macAddress'], '10.0.0.4'],
    )
    const refused = async (address: string): Promise<string> =>
      refusal(
        await world.put(
          'networkInterfaces/n9',
          configuration(s1, { privateIPAllocationMethod: 'Static', privateIPAddress: address }),
        ),
      )
    assert.match(await refused('10.0.0.6'), /^400 PrivateIPAddressIsAllocated/)
    assert.match(await refused('10.0.0.3'), /^400 PrivateIPAddressInReservedRange/)
    assert.match(await refused('10.0.9.9'), /^400 PrivateIPAddressNotInSubnet/)
    const inside = await world.get<{ value: Shown[] }>('networkInterfaces/n1/ipConfigurations')
    assert.equal(inside.body.value[0]?.id, world.id('networkInterfaces/n1/ipConfigurations/ip1'))
    const subnet = await world.get('virtualNetworks/v1/subnets/s1')
    assert.equal((subnet.body.properties['ipConfigurations'] as unknown[]).length, 3)
  })

  it('refuses cards that refer to what is not there or may not be, by name', async () => {
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    const put = async (body: unknown): Promise<string> => refusal(await world.put('networkInterfaces/n9', body))
    assert.match(await put({}), /^400 InvalidRequestContent/)
    assert.match(await put(configuration(`${s1}x`)), /^400 InvalidResourceReference .*s1x/)
    assert.match(await put(configuration(world.id('virtualNetworks/v1'))), /^400 InvalidResourceReference/)
    assert.match(
      await put({ ...configuration(s1), enableIPForwarding: true }),
      /^400 UnsupportedField .*enableIPForwarding/,
    )
    assert.match(await put(configuration(s1, { applicationSecurityGroups: [{ id: '/x' }] })), /^400 UnsupportedField/)
    const twice = {
      ipConfigurations: [
        ...(configuration(s1)['ipConfigurations'] as unknown[]),
        { name: 'ip2', properties: { subnet: { id: s1 } } },
      ],
    }
    assert.match(await put(twice), /^400 UnsupportedField .*one IP configuration/)
  })

  it('checks rules of security groups, keeps them, and takes them one by one', async () => {
    const rule = (priority: number, more: Record<string, unknown> = {}) => ({
      protocol: 'tcp',
      sourcePortRange: '*',
      destinationPortRange: '22',
      sourceAddressPrefix: '*',
      destinationAddressPrefix: '*',
      access: 'Allow',
      direction: 'Inbound',
      priority,
      ...more,
    })
    const made = await world.made(
      await world.put('networkSecurityGroups/g1', { securityRules: [{ name: 'ssh', properties: rule(1000) }] }),
    )
    const [ssh] = made.properties['securityRules'] as Shown[]
    assert.deepEqual([ssh?.properties['protocol'], ssh?.properties['priority']], ['Tcp', 1000])
    assert.equal((made.properties['defaultSecurityRules'] as unknown[]).length, 6)
    const put = async (name: string, body: unknown): Promise<string> =>
      refusal(await world.put(`networkSecurityGroups/g1/securityRules/${name}`, body))
    assert.match(await put('x', rule(1000)), /^400 SecurityRuleConflict .*ssh/)
    assert.match(await put('x', rule(99)), /^400 SecurityRuleInvalidPriority/)
    assert.match(await put('x', rule(200, { destinationPortRange: '90-80' })), /^400 SecurityRuleInvalidPortRange/)
    assert.match(
      await put('x', rule(200, { sourceAddressPrefix: 'AzureCloud' })),
      /^400 SecurityRuleInvalidAddressPrefix .*AzureCloud/,
    )
    assert.match(await put('x', rule(200, { sourceAddressPrefix: '' })), /^400 SecurityRuleInvalidAddressPrefix/)
    assert.match(await put('x', rule(200, { access: undefined })), /^400 SecurityRuleParameterContainsUnsupportedValue/)
    assert.match(await put('x', rule(200, { protocol: 'Esp' })), /^400 UnsupportedField .*protocol/)
    const web = await world.put(
      'networkSecurityGroups/g1/securityRules/web',
      rule(1001, { destinationPortRange: null, destinationPortRanges: ['80', '443'] }),
    )
    assert.equal(web.status, 201, web.text)
    const list = await world.get<{ value: Shown[] }>('networkSecurityGroups/g1/securityRules')
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['ssh', 'web'],
    )
    assert.equal((await world.delete('networkSecurityGroups/g1/securityRules/web')).status, 200)
    assert.equal((await world.delete('networkSecurityGroups/g1/securityRules/web')).status, 204)
    assert.equal((await world.get('networkSecurityGroups/g1/securityRules/web')).status, 404)
    assert.equal((await world.get('networkSecurityGroups/g1/defaultSecurityRules/DenyAllInBound')).status, 200)
  })

  it('deletes nothing that is in use, and says by whom', async () => {
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    await world.made(
      await world.put('publicIPAddresses/p1', { publicIPAllocationMethod: 'Static' }, { sku: { name: 'Standard' } }),
    )
    const group = { networkSecurityGroup: { id: world.id('networkSecurityGroups/g1') } }
    const used = { ...configuration(s1, { publicIPAddress: { id: world.id('publicIPAddresses/p1') } }), ...group }
    await world.made(await world.put('networkInterfaces/n4', used))
    assert.match(refusal(await world.put('networkInterfaces/n5', used)), /^400 PublicIPAddressInUse .*n4/)
    assert.match(refusal(await world.delete('virtualNetworks/v1/subnets/s1')), /^400 InUseSubnetCannotBeDeleted .*s1/)
    assert.match(refusal(await world.delete('virtualNetworks/v1')), /^400 InUseSubnetCannotBeDeleted/)
    assert.match(
      refusal(await world.put('virtualNetworks/v1', { ...space('10.0.0.0/16'), subnets: [] })),
      /^400 InUseSubnetCannotBeDeleted/,
    )
    assert.match(
      refusal(await world.put('virtualNetworks/v1/subnets/s1', { addressPrefix: '10.0.0.0/25' })),
      /^400 InUsePrefixCannotBeDeleted/,
    )
    assert.match(refusal(await world.delete('publicIPAddresses/p1')), /^400 PublicIPAddressCannotBeDeleted .*n4/)
    assert.match(
      refusal(await world.delete('networkSecurityGroups/g1')),
      /^400 InUseNetworkSecurityGroupCannotBeDeleted .*n4/,
    )
    const shown = await world.get('publicIPAddresses/p1')
    assert.equal(
      (shown.body.properties['ipConfiguration'] as { id: string }).id,
      world.id('networkInterfaces/n4/ipConfigurations/ip1'),
    )
    assert.equal(shown.body.properties['ipAddress'], '127.0.0.1')
    assert.equal((await world.delete('networkInterfaces/n4')).status, 200)
    assert.equal((await world.delete('publicIPAddresses/p1')).status, 200)
    assert.equal((await world.delete('publicIPAddresses/p1')).status, 204)
  })

  it('lets only those join a subnet, a group or an address who may', async () => {
    const { api } = world
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    const own = `${api.subscription}/resourceGroups/own`
    assert.equal((await world.ask('PUT', `${own}?${VERSION}`, { location: 'eastus' })).status, 201)
    const card = `${own}/providers/Microsoft.Network/networkInterfaces/n1?${VERSION}`
    const stranger = await api.principal('stranger', [{ role: CONTRIBUTOR, scope: own }])
    const body = { location: 'eastus', properties: configuration(s1) }
    const refused = await stranger.ask<Failure>('PUT', card, body)
    assert.match(refusal(refused), /^403 LinkedAuthorizationFailed .*subnets\/join\/action/)
    const joiner = await api.principal('joiner', [
      { role: CONTRIBUTOR, scope: own },
      { role: MACHINE_CONTRIBUTOR, scope: s1 },
    ])
    const made = await joiner.ask<Shown>('PUT', card, body)
    assert.equal(made.status, 201, made.text)
    const grouped = {
      ...body,
      properties: { ...body.properties, networkSecurityGroup: { id: world.id('networkSecurityGroups/g1') } },
    }
    assert.match(
      refusal(await joiner.ask<Failure>('PUT', card, grouped)),
      /^403 LinkedAuthorizationFailed .*networkSecurityGroups\/join\/action/,
    )
    const listed = await stranger.ask<{ value: Shown[] }>(
      'GET',
      `${api.subscription}/providers/Microsoft.Network/virtualNetworks?${VERSION}`,
    )
    assert.deepEqual(listed.body.value, [])
    assert.equal((await stranger.ask('GET', `${s1}?${VERSION}`)).status, 403)
  })

  it('makes one card of fifty equal requests, and as many addresses as cards of different ones', async () => {
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    const same = await Promise.all(
      Array.from({ length: 50 }, () => world.put('networkInterfaces/same', configuration(s1))),
    )
    assert.ok(same.every(({ status }) => status === 200 || status === 201))
    assert.equal(new Set(same.map(({ body }) => String(body.properties['macAddress']))).size, 1)
    const many = await Promise.all(
      Array.from({ length: 40 }, (_, n) => world.put(`networkInterfaces/many${n}`, configuration(s1))),
    )
    assert.equal(new Set(many.map(({ body }) => String(configurationOf(body)['privateIPAddress']))).size, 40)
    await Promise.all(Array.from({ length: 40 }, (_, n) => world.delete(`networkInterfaces/many${n}`)))
  })

  it('makes a running network follow every change, and nothing is left when the last card is unplugged', async () => {
    const s1 = world.id('virtualNetworks/v1/subnets/s1')
    await world.made(await world.put('publicIPAddresses/p2', {}, { sku: { name: 'Standard' } }))
    const group = { networkSecurityGroup: { id: world.id('networkSecurityGroups/g1') } }
    const body = { ...configuration(s1, { publicIPAddress: { id: world.id('publicIPAddresses/p2') } }), ...group }
    const card = await world.made(await world.put('networkInterfaces/live', body))
    const network = (await world.get('virtualNetworks/v1')).body.properties['resourceGuid'] as string
    assert.equal(await insideNetwork(network), undefined, 'no machine, no network')
    const [plugged] = (await world.plug({ cards: [card.id], machine: 'Web 1', plugged: true })) as Record<
      string,
      string
    >[]
    assert.deepEqual(plugged, {
      kind: 'segment',
      mac: String(card.properties['macAddress']).replaceAll('-', ':').toLowerCase(),
      network,
      interface: plugged?.['interface'],
    })
    const rules = async (): Promise<string> => {
      const [program = '', ...args] = must(await insideNetwork(network), 'The network is there')
      return (await run(program, [...args, 'nft', 'list', 'ruleset'])).stdout
    }
    const address = await world.get('publicIPAddresses/p2')
    const [port] = address.body.properties['ipTags'] as { ipTagType: string; tag: string }[]
    assert.equal(port?.ipTagType, 'HoldfastPort')
    const [, hostPort] = /^22\/tcp=127\.0\.0\.1:(2\d{4})$/.exec(port.tag) ?? []
    assert.match(await rules(), new RegExp(`tcp dport ${hostPort} dnat to [\\d.]+:22\\b`))
    const echoed = await world.put('publicIPAddresses/p2', address.body.properties, { sku: { name: 'Standard' } })
    await world.made(echoed)

    const web = {
      protocol: 'Tcp',
      sourcePortRange: '*',
      destinationPortRange: '8080',
      sourceAddressPrefix: 'Internet',
      destinationAddressPrefix: '*',
      access: 'Allow',
      direction: 'Inbound',
      priority: 300,
    }
    const changed = await world.put('networkSecurityGroups/g1/securityRules/web', web)
    assert.ok(changed.headers['azure-asyncoperation'] !== undefined, 'a running network takes an operation')
    await world.made(changed)
    assert.match(await rules(), /iifname "up0" tcp dport 8080 return/)
    assert.match(await rules(), /tcp dport 2\d{4} dnat to [\d.]+:8080\b/)
    assert.match(
      await rules(),
      new RegExp(`tcp dport ${hostPort} dnat to [\\d.]+:22\\b`),
      'ports that are had are kept',
    )
    assert.match(
      refusal(
        await world.put(
          'networkInterfaces/live',
          configuration(s1, { privateIPAllocationMethod: 'Static', privateIPAddress: '10.0.0.200' }),
        ),
      ),
      /^409 OperationNotAllowed .*running/,
    )

    await world.made(
      await world.put('virtualNetworks/v1/subnets/s1', { addressPrefix: '10.0.0.0/24', defaultOutboundAccess: false }),
    )
    assert.doesNotMatch(await rules(), /set outbound \{[^}]*elements/, 'sealed')
    const bare = await world.made(await world.put('networkInterfaces/live', configuration(s1)))
    assert.equal(bare.properties['networkSecurityGroup'], undefined)
    assert.doesNotMatch(await rules(), /dnat to/)
    assert.deepEqual((await world.get('publicIPAddresses/p2')).body.properties['ipTags'], [])
    await world.plug({ cards: [card.id], machine: 'Web 1', plugged: false })
    assert.equal(await insideNetwork(network), undefined)
  })

  it('takes the networks of az vm create’s template: old versions, ids in any case, two cards by copy', async () => {
    const type = (name: string): string => `Microsoft.Network/${name}`
    const at = (path: string): string => world.id(path)
    const ssh = {
      protocol: 'Tcp',
      sourcePortRange: '*',
      destinationPortRange: '22',
      sourceAddressPrefix: '*',
      destinationAddressPrefix: '*',
      access: 'Allow',
      priority: 1000,
      direction: 'Inbound',
    }
    const common = { apiVersion: '2015-06-15', location: 'eastus', tags: {}, dependsOn: [] }
    const copy = (name: string) => ({ copy: { name, mode: 'parallel', count: 2 } })
    const resources = [
      {
        ...common,
        type: type('virtualNetworks'),
        name: 'vmVNET',
        properties: { ...space('10.7.0.0/16'), subnets: [subnet('vmSubnet', '10.7.0.0/24')] },
      },
      {
        ...common,
        type: type('networkSecurityGroups'),
        name: 'vmNSG',
        properties: { securityRules: [{ name: 'default-allow-ssh', properties: ssh }] },
      },
      {
        ...common,
        type: type('publicIPAddresses'),
        apiVersion: '2022-01-01',
        name: "[concat('vmPublicIP', copyIndex())]",
        sku: { name: 'Standard' },
        properties: { publicIPAllocationMethod: 'Static' },
        ...copy('publicipcopy'),
      },
      {
        ...common,
        type: type('networkInterfaces'),
        name: "[concat('vmVMNic', copyIndex())]",
        dependsOn: [
          type('virtualNetworks/vmVNET'),
          type('networkSecurityGroups/vmNSG'),
          type('publicIpAddresses/vmPublicIP0'),
          type('publicIpAddresses/vmPublicIP1'),
        ],
        properties: {
          networkSecurityGroup: { id: at('networkSecurityGroups/vmNSG') },
          ipConfigurations: [
            {
              name: "[concat('ipconfigvm', copyIndex())]",
              properties: {
                privateIPAllocationMethod: 'Dynamic',
                subnet: { id: at('virtualNetworks/vmVNET/subnets/vmSubnet') },
                publicIPAddress: { id: `[concat('${at('publicIPAddresses/vmPublicIP')}', copyIndex())]` },
              },
            },
          ],
        },
        ...copy('niccopy'),
      },
    ]
    const template = {
      $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
      contentVersion: '1.0.0.0',
      resources,
    }
    const path = `${world.group}/providers/Microsoft.Resources/deployments/vm_deploy?${VERSION}`
    const begun = await world.ask('PUT', path, { properties: { mode: 'incremental', template, parameters: {} } })
    assert.equal(begun.status, 201, begun.text)
    const done = await followed<{ status: string }>(world.ask, begun)
    assert.equal(done.body.status, 'Succeeded', done.text)
    const addresses = await Promise.all(
      [0, 1].map(async (n) => configurationOf((await world.get(`networkInterfaces/vmVMNic${n}`)).body)),
    )
    assert.deepEqual(addresses.map((one) => String(one['privateIPAddress'])).toSorted(), ['10.7.0.4', '10.7.0.5'])
    assert.deepEqual(addresses[1]?.['publicIPAddress'], { id: at('publicIPAddresses/vmPublicIP1') })
  })

  it('deletes a group with a network in it, cards first', async () => {
    const group = `${world.api.subscription}/resourceGroups/whole`
    const at = (path: string): string => `${group}/providers/Microsoft.Network/${path}?${VERSION}`
    await world.ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
    const location = 'eastus'
    const body = { ...space('10.3.0.0/16'), subnets: [subnet('s', '10.3.0.0/24')] }
    assert.equal((await world.ask('PUT', at('virtualNetworks/a'), { location, properties: body })).status, 201)
    const s = at('virtualNetworks/a/subnets/s').split('?')[0] ?? ''
    assert.equal(
      (await world.ask('PUT', at('networkInterfaces/z'), { location, properties: configuration(s) })).status,
      201,
    )
    const gone = await world.ask('DELETE', `${group}?${VERSION}`)
    assert.equal(gone.status, 202)
    await followed(world.ask, gone)
    assert.equal((await world.ask('GET', at('virtualNetworks/a'))).status, 404)
  })
})
