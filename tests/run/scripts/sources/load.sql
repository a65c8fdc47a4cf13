\pset format unaligned
drop table if exists orders, customers;
create table orders as
  select n as id, (n::bigint * 7919) % 1000003 as customer, n % 97 as kind, 'order ' || n || repeat('.', n % 40) as note
  from generate_series(1, 300000) n;
create table customers as
  select n as id, 'customer ' || n as name from generate_series(0, 200000) n;
select count(*), sum(id), sum(length(note)) from orders;
select count(*), md5(string_agg(c.name || o.note, '' order by o.id))
  from orders o join customers c on c.id = o.customer;
create index on orders (customer);
create index on orders (note);
select kind, count(*), min(note), max(customer) from orders group by kind order by kind limit 5;
select md5(string_agg(note, ',' order by note desc)) from orders;
select sum(r * id) from (select id, rank() over (partition by kind order by note) as r from orders) ranked;
update orders set note = note || '!' where kind < 20;
delete from orders where kind > 90;
vacuum analyze orders;
with recursive walk(id, depth) as (
  select 1, 0 union all
  select (id * 31 + 7) % 200000, depth + 1 from walk where depth < 2000)
select count(*), sum(o.customer) from walk join orders o using (id);
select count(*), md5(string_agg(note, '' order by id)) from orders;
