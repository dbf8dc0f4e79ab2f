-- Budgets shared by several gateways. The meaning of every operation is that of aliquot.budgets.holding; the
-- tests run both against each other.
--
-- aliquot_budgets_apply locks the counters of a whole batch in the order of their keys, so that batches of
-- different gateways never wait for each other in a circle; only then it reads the clock.

CREATE TABLE IF NOT EXISTS aliquot_budgets_schema (version integer NOT NULL);

CREATE TABLE IF NOT EXISTS aliquot_counters (
  key text COLLATE "C" PRIMARY KEY,
  width bigint NOT NULL,   -- of a bucket, microseconds
  count bigint NOT NULL,   -- buckets in the window
  spent bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  oldest bigint,           -- the oldest bucket that may be there; null: none
  newest bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS aliquot_buckets (
  key text COLLATE "C" NOT NULL,
  bucket bigint NOT NULL,
  amount bigint NOT NULL,
  PRIMARY KEY (key, bucket)
) WITH (fillfactor = 70);

CREATE TABLE IF NOT EXISTS aliquot_holds (
  request text PRIMARY KEY,
  expires bigint NOT NULL,
  units bigint NOT NULL,
  amounts jsonb NOT NULL,  -- [[counter, window, amount], ...]
  lost jsonb,
  lost_unit jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS aliquot_holds_by_expiry ON aliquot_holds (expires);

CREATE TABLE IF NOT EXISTS aliquot_uses (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ended bigint NOT NULL,
  request text NOT NULL UNIQUE,
  body jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS aliquot_uses_by_time ON aliquot_uses (ended);

CREATE TABLE IF NOT EXISTS aliquot_keys (identity text PRIMARY KEY, body jsonb NOT NULL);

-- The last number of uses up to which none is missing: waits for settlements that have theirs and are under way.
CREATE OR REPLACE FUNCTION aliquot_uses_complete_to() RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
  LOCK TABLE aliquot_uses IN SHARE MODE;
  RETURN (SELECT coalesce(max(u.number), 0) FROM aliquot_uses u);
END $$;

-- operations: [{"op": "hold"|"renew"|"settle", ...}], counters named by their place (from 1) in keys.
-- keys: sorted and distinct. at: microseconds, or null for the server's clock.
-- Answers one element for each operation, and the time that was used.
CREATE OR REPLACE FUNCTION aliquot_budgets_apply(keys text[], operations jsonb, at bigint) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
  n integer := coalesce(array_length(keys, 1), 0);
  seen integer := 0;
  widths bigint[]; counts bigint[]; spents bigint[]; helds bigint[]; currents bigint[]; booked bigint[];
  record_ record;
  moment bigint;
  oldest_ bigint; gone bigint;
  operation jsonb; charge jsonb; entry jsonb; hold aliquot_holds%ROWTYPE;
  i integer; place integer; units_ bigint; least_ bigint; room bigint; amount bigint; excess bigint; free bigint;
  short boolean; gauges jsonb; amounts_ jsonb; touched boolean := false;
  answers jsonb[] := '{}';
  has_hold boolean;
BEGIN
  FOR record_ IN
    SELECT c.key, c.width, c.count, c.spent, c.held, c.oldest, c.newest
    FROM aliquot_counters c WHERE c.key = ANY (keys) ORDER BY c.key FOR UPDATE
  LOOP
    seen := seen + 1;
    widths[seen] := record_.width; counts[seen] := record_.count;
    spents[seen] := record_.spent; helds[seen] := record_.held;
    currents[seen] := record_.newest; booked[seen] := coalesce(record_.oldest, -1);
  END LOOP;
  IF seen <> n THEN
    RAISE EXCEPTION 'aliquot: a counter is missing' USING ERRCODE = 'AL001';
  END IF;
  moment := coalesce(at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
  FOR i IN 1..n LOOP
    oldest_ := moment / widths[i] - counts[i];
    IF booked[i] >= 0 AND booked[i] < oldest_ THEN
      WITH removed AS (
        DELETE FROM aliquot_buckets b WHERE b.key = keys[i] AND b.bucket < oldest_ RETURNING b.amount
      )
      SELECT coalesce(sum(r.amount), 0) INTO gone FROM removed r;
      spents[i] := spents[i] - gone;
      UPDATE aliquot_counters c SET spent = spents[i],
        oldest = (SELECT min(b.bucket) FROM aliquot_buckets b WHERE b.key = keys[i])
        WHERE c.key = keys[i];
    END IF;
    currents[i] := greatest(currents[i], moment / widths[i]);
    booked[i] := 0;
  END LOOP;

  FOR operation IN SELECT value FROM jsonb_array_elements(operations) LOOP
    IF operation->>'op' = 'hold' THEN
      has_hold := false;
      IF (operation->>'more')::boolean THEN
        SELECT * INTO hold FROM aliquot_holds h WHERE h.request = operation->>'request' FOR UPDATE;
        has_hold := FOUND;
        IF NOT has_hold THEN
          answers := answers || '{"type": "gone"}'::jsonb;
          CONTINUE;
        END IF;
      END IF;
      units_ := (operation->>'most')::bigint;
      least_ := (operation->>'least')::bigint;
      short := false;
      place := 0;
      -- A charge is [counter, window, limit, fixed, per unit, at once].
      FOR charge IN SELECT value FROM jsonb_array_elements(operation->'charges') LOOP
        i := (charge->>0)::integer;
        room := (charge->>2)::bigint - spents[i] - helds[i] - (charge->>3)::bigint;
        IF room < (charge->>4)::bigint * least_ THEN
          excess := (charge->>4)::bigint * least_ - room;
          free := NULL;
          IF (charge->>3)::bigint + (charge->>4)::bigint * least_ <= (charge->>2)::bigint THEN
            SELECT (s.bucket + counts[i] + 1) * widths[i] INTO free FROM (
              SELECT b.bucket, sum(b.amount) OVER (ORDER BY b.bucket) AS upto FROM (
                SELECT q.bucket, sum(q.amount) AS amount FROM (
                  SELECT a.bucket, a.amount FROM aliquot_buckets a WHERE a.key = keys[i]
                  UNION ALL SELECT currents[i], booked[i]
                ) q GROUP BY q.bucket
              ) b
            ) s WHERE s.upto >= excess ORDER BY s.bucket LIMIT 1;
          END IF;
          answers := answers || jsonb_build_object(
            'type', 'short', 'charge', place, 'gauge', jsonb_build_array(spents[i], helds[i]), 'free_at', free);
          short := true;
          EXIT;
        END IF;
        IF (charge->>4)::bigint > 0 AND room < (charge->>4)::bigint * units_ THEN
          units_ := room / (charge->>4)::bigint;
        END IF;
        place := place + 1;
      END LOOP;
      CONTINUE WHEN short;
      gauges := '[]';
      amounts_ := '[]';
      FOR charge IN SELECT value FROM jsonb_array_elements(operation->'charges') LOOP
        i := (charge->>0)::integer;
        amount := (charge->>3)::bigint + (charge->>4)::bigint * units_;
        IF (charge->>5)::boolean THEN
          booked[i] := booked[i] + amount;
          spents[i] := spents[i] + amount;
        ELSE
          helds[i] := helds[i] + amount;
          amounts_ := amounts_ || jsonb_build_array(jsonb_build_array(keys[i], charge->>1, amount));
        END IF;
        gauges := gauges || jsonb_build_array(jsonb_build_array(spents[i], helds[i]));
      END LOOP;
      touched := true;
      IF has_hold THEN
        SELECT coalesce(jsonb_agg(jsonb_build_array(m.k, m.w, m.total) ORDER BY m.first), '[]') INTO amounts_
        FROM (
          SELECT e.value->>0 AS k, max(e.value->>1) AS w, sum((e.value->>2)::bigint) AS total,
                 min(e.ordinality) AS first
          FROM jsonb_array_elements(hold.amounts || amounts_) WITH ORDINALITY e GROUP BY 1
        ) m;
        UPDATE aliquot_holds h SET units = hold.units + units_, amounts = amounts_,
          expires = (operation->>'expires_us')::bigint WHERE h.request = hold.request;
      ELSE
        INSERT INTO aliquot_holds (request, expires, units, amounts, lost, lost_unit)
        VALUES (operation->>'request', (operation->>'expires_us')::bigint, units_, amounts_,
                nullif(operation->'lost', 'null'), operation->'lost_unit');
      END IF;
      answers := answers || jsonb_build_object('type', 'granted', 'units', units_, 'gauges', gauges);

    ELSIF operation->>'op' = 'renew' THEN
      UPDATE aliquot_holds h SET expires = (operation->>'expires_us')::bigint
        WHERE h.request = operation->>'request';
      answers := answers || CASE WHEN FOUND THEN '{"type": "done"}'::jsonb ELSE '{"type": "gone"}'::jsonb END;

    ELSE
      DELETE FROM aliquot_holds h WHERE h.request = operation->>'request'
        AND (NOT (operation->>'lapsed')::boolean OR h.expires <= moment)
        RETURNING h.* INTO hold;
      IF NOT FOUND THEN
        answers := answers || '{"type": "gone"}'::jsonb;
        CONTINUE;
      END IF;
      touched := true;
      -- What is held is that of the stored hold; the client sends the places of its counters.
      FOR entry IN SELECT value FROM jsonb_array_elements(hold.amounts) LOOP
        i := (operation->'places'->>(entry->>0))::integer;
        IF i IS NULL THEN
          RAISE EXCEPTION 'aliquot: a hold has counters that the settlement does not name'
            USING ERRCODE = 'AL002';
        END IF;
        helds[i] := helds[i] - (entry->>2)::bigint;
      END LOOP;
      FOR entry IN SELECT value FROM jsonb_array_elements(operation->'amounts') LOOP
        i := (entry->>0)::integer;
        amount := (entry->>2)::bigint;
        booked[i] := booked[i] + amount;
        spents[i] := spents[i] + amount;
      END LOOP;
      INSERT INTO aliquot_uses (ended, request, body)
        VALUES ((operation->'use'->>'ended_us')::bigint, operation->>'request', operation->'use');
      answers := answers || '{"type": "done"}'::jsonb;
    END IF;
  END LOOP;

  IF touched THEN
    INSERT INTO aliquot_buckets AS b (key, bucket, amount)
      SELECT t.key, t.bucket, t.amount
      FROM unnest(keys, currents, booked) AS t (key, bucket, amount) WHERE t.amount <> 0
      ON CONFLICT (key, bucket) DO UPDATE SET amount = b.amount + excluded.amount;
    UPDATE aliquot_counters c
      SET spent = t.spent, held = t.held,
        newest = CASE WHEN t.amount <> 0 THEN t.bucket ELSE c.newest END,
        oldest = CASE WHEN t.amount <> 0 THEN coalesce(c.oldest, t.bucket) ELSE c.oldest END
      FROM unnest(keys, currents, booked, spents, helds) AS t (key, bucket, amount, spent, held)
      WHERE c.key = t.key;
  END IF;
  RETURN jsonb_build_object('at', moment, 'answers', to_jsonb(answers));
END $$;
